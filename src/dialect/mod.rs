//! Other people's HTTP APIs, spoken so that their clients work unchanged.
