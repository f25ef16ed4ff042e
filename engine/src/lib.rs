//! The storage engine of Strandlog: an append-only log of events in checked segment files.
