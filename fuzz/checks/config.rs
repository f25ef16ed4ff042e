//! What the target `config` checks: any text is settings or one line that says why not.

use std::path::Path;

use strandlog::config::{Config, Overrides};

pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // Settings name a file that is then read. An input must not choose it.
    let text = text.replace("key_file", "key-file").replace('\\', "/");
    let file = Some((Path::new("strandlog.toml"), text.as_str()));
    match Config::resolve(Overrides::default(), file) {
        Ok(config) => {
            assert!(config.listen.ip().is_loopback(), "{}", config.listen);
            let again = Config::resolve(Overrides::default(), file);
            assert_eq!(again, Ok(config), "the same twice");
        }
        Err(error) => {
            let line = error.to_string();
            assert!(!line.is_empty());
            assert!(!line.contains('\n'), "more than a line: {line}");
        }
    }
}
