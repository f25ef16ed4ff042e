//! Ctrl-C: the run ends in order, so that mounts and processes are given back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static CAME: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Listens for it. A second one ends the process at once; the next run cleans up.
pub(crate) fn listen() -> std::io::Result<()> {
    let came = Arc::clone(CAME.get_or_init(Arc::default));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&came))?;
        signal_hook::flag::register(signal, Arc::clone(&came))?;
    }
    Ok(())
}

/// Whether it came.
pub(crate) fn came() -> bool {
    CAME.get().is_some_and(|came| came.load(Ordering::SeqCst))
}
