//! The server's settings: flag over environment over file over default, read once at the start.
//!
//! A dialect is a section of its own in the file (`[dialect.NAME]`), whose settings stand with its
//! code; a name that nobody reads is refused, because a setting that does nothing is a trap.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::app::Limits;
use crate::dialect;
use crate::doors;
use crate::store::{Durability, Retention};
use crate::webhook;

/// Where the server listens if nobody says otherwise.
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7411);
/// Where the events are kept if nobody says otherwise.
const DATA_DEFAULT: &str = "./strandlog-data";
/// Bytes of a segment file if nobody says otherwise: each log reserves one or two of them ahead, and a
/// start reads at most one again.
const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The shortest segment that can be chosen, in bytes: room for some hundred small events.
const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// The longest, in bytes: a start that has to read it whole again still takes about a second.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The shortest and the longest time that slow clients can be given, in seconds: a slow network takes a
/// second now and then, and nobody waits for an hour.
const TIMEOUT_SECONDS: (u64, u64) = (1, 3_600);
/// What is logged if nobody says otherwise.
const LOG_LEVEL_DEFAULT: &str = "info";
/// The words that are a level by themselves.
const LOG_LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// Everything the server is told from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; port 0 for a free one. Always a loopback address.
    pub listen: SocketAddr,
    /// The data directory.
    pub data: PathBuf,
    /// The durability of publishes that ask for none.
    pub durability: Durability,
    /// Bytes of a segment file of new segments; an event or batch that does not fit in one is refused.
    pub segment_len: u64,
    /// Which events may go, for logs that were not told otherwise.
    pub retention: Retention,
    /// The limits, with the times that slow clients are given.
    pub limits: Limits,
    /// The form of the server's own log.
    pub log_format: LogFormat,
    /// What goes into it: a level, or directives such as `info,strandlog::store=debug`.
    pub log_level: String,
    /// The dialects, and what may be called.
    pub doors: doors::Settings,
    /// Whether there is no config file.
    pub development: bool,
}

/// The form of the server's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The durability by its name in settings and headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum DurabilityName {
    /// Answer once the events are synced: they survive the loss of power
    Sync,
    /// Answer once the operating system has them: they survive the end of the server, not of the
    /// machine
    Os,
}

impl fmt::Display for DurabilityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Os => "os",
        })
    }
}

impl From<DurabilityName> for Durability {
    fn from(name: DurabilityName) -> Self {
        match name {
            DurabilityName::Sync => Self::Sync,
            DurabilityName::Os => Self::Os,
        }
    }
}

/// What flags and environment say; they come before the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// See [`Config::listen`].
    pub listen: Option<String>,
    /// See [`Config::data`].
    pub data: Option<PathBuf>,
    /// See [`Config::durability`].
    pub durability: Option<DurabilityName>,
    /// See [`Config::log_format`].
    pub log_format: Option<LogFormat>,
    /// See [`Config::log_level`].
    pub log_level: Option<String>,
}

/// Why the settings cannot be used. One line; nothing was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    listen: Option<String>,
    data: Option<PathBuf>,
    durability: Option<DurabilityName>,
    segment_bytes: Option<u64>,
    retention: RetentionSection,
    timeouts: TimeoutsSection,
    log: LogSection,
    dialect: dialect::Settings,
    webhooks: webhook::Settings,
}

/// The names are those of the API, as TOML writes them.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionSection {
    max_age_seconds: Option<u64>,
    max_bytes: Option<u64>,
    max_events: Option<u64>,
}

/// How long slow clients are waited for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TimeoutsSection {
    header_seconds: Option<u64>,
    body_seconds: Option<u64>,
    write_seconds: Option<u64>,
}

impl TimeoutsSection {
    fn limits(&self) -> Result<Limits, ConfigError> {
        let default = Limits::default();
        let timeout = |name: &str, given: Option<u64>, default: Duration| {
            let (min, max) = TIMEOUT_SECONDS;
            match given {
                None => Ok(default),
                Some(seconds) if (min..=max).contains(&seconds) => Ok(Duration::from_secs(seconds)),
                Some(seconds) => Err(ConfigError(format!(
                    "timeouts.{name} {seconds} is not between {min} and {max}"
                ))),
            }
        };
        Ok(Limits {
            header_timeout: timeout(
                "header_seconds",
                self.header_seconds,
                default.header_timeout,
            )?,
            body_timeout: timeout("body_seconds", self.body_seconds, default.body_timeout)?,
            write_timeout: timeout("write_seconds", self.write_seconds, default.write_timeout)?,
            ..default
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogSection {
    format: Option<LogFormat>,
    level: Option<String>,
}

impl Config {
    /// Puts the settings together; `file` is the config file's path and text.
    ///
    /// A relative data directory counts from where the server is started, wherever it is written.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: the file does not parse, a name in it is unknown, a value is out of range, a
    /// dialect cannot be opened with its section, the address is not a loopback address, or a word is
    /// no log level.
    pub fn resolve(overrides: Overrides, file: Option<(&Path, &str)>) -> Result<Self, ConfigError> {
        let (parsed, development) = match file {
            Some((path, text)) => (parse(path, text)?, false),
            None => (File::default(), true),
        };
        if let Some((path, _)) = file {
            let checked = parsed.dialect.check();
            checked.map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
        }
        let listen = match overrides.listen.or(parsed.listen) {
            Some(text) => loopback(&text)?,
            None => LISTEN_DEFAULT,
        };
        Ok(Self {
            listen,
            data: overrides
                .data
                .or(parsed.data)
                .unwrap_or_else(|| PathBuf::from(DATA_DEFAULT)),
            durability: overrides
                .durability
                .or(parsed.durability)
                .map(Durability::from)
                .unwrap_or_default(),
            segment_len: segment_len(parsed.segment_bytes.unwrap_or(SEGMENT_BYTES_DEFAULT))?,
            retention: Retention {
                age_max_s: parsed.retention.max_age_seconds,
                bytes_max: parsed.retention.max_bytes,
                records_max: parsed.retention.max_events,
            },
            limits: parsed.timeouts.limits()?,
            log_format: overrides
                .log_format
                .or(parsed.log.format)
                .unwrap_or_default(),
            log_level: match overrides.log_level.or(parsed.log.level) {
                Some(text) => log_level(text)?,
                None => LOG_LEVEL_DEFAULT.to_owned(),
            },
            doors: if development {
                doors::Settings::development()
            } else {
                doors::Settings {
                    dialects: parsed.dialect,
                    webhooks: parsed.webhooks,
                }
            },
            development,
        })
    }
}

fn parse(path: &Path, text: &str) -> Result<File, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let place = match error.span().and_then(|span| text.get(..span.start)) {
            Some(before) => format!(" line {}", before.matches('\n').count() + 1),
            None => String::new(),
        };
        let what = error.message().replace('\n', " ");
        ConfigError(format!("{}{place}: {what}", path.display()))
    })
}

fn segment_len(bytes: u64) -> Result<u64, ConfigError> {
    if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&bytes) {
        return Ok(bytes);
    }
    Err(ConfigError(format!(
        "segment_bytes {bytes} is not between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}"
    )))
}

/// A level or directives. A word that is no level would be taken for the one part of the program
/// that is to be logged, and everything else would be silent.
fn log_level(text: String) -> Result<String, ConfigError> {
    let is_known = |part: &str| {
        part.contains(['=', '['])
            || LOG_LEVELS
                .iter()
                .any(|level| part.eq_ignore_ascii_case(level))
    };
    match text.split(',').map(str::trim).find(|part| !is_known(part)) {
        None => Ok(text),
        Some(part) => Err(ConfigError(format!(
            "log level {part:?} is none of {}, and no directive such as strandlog=debug",
            LOG_LEVELS.join(", ")
        ))),
    }
}

/// An address and a port; `localhost` needs no resolver that could be told otherwise.
fn loopback(text: &str) -> Result<SocketAddr, ConfigError> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => u16::from_str(port)
            .ok()
            .map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        None => text.parse().ok(),
    };
    let Some(address) = address else {
        return Err(ConfigError(format!(
            "listen address {text:?} is not ADDRESS:PORT, such as {LISTEN_DEFAULT}"
        )));
    };
    if !address.ip().is_loopback() {
        return Err(ConfigError(format!(
            "listen address {address} can be reached from other machines, and the server has no \
             credentials yet: only loopback addresses such as {LISTEN_DEFAULT} are accepted"
        )));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(overrides: Overrides, text: Option<&str>) -> Result<Config, String> {
        Config::resolve(overrides, text.map(|text| (Path::new("s.toml"), text)))
            .map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(text: &str, want: &str) {
        let error = resolved(Overrides::default(), Some(text)).unwrap_err();
        assert!(error.contains(want), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn without_settings_the_server_listens_on_loopback_and_syncs() {
        let config = resolved(Overrides::default(), None).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:7411");
        assert_eq!(config.data, Path::new("./strandlog-data"));
        assert_eq!(config.durability, Durability::Sync);
        assert_eq!(config.retention, Retention::default());
        assert!(config.development);
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let text = "listen = '127.0.0.1:1'\ndurability = 'os'\n\
                    [retention]\nmax_age_seconds = 60\nmax_events = 9\n[log]\nformat = 'json'\n";
        let overrides = Overrides {
            listen: Some("localhost:2".to_owned()),
            log_level: Some("warn".to_owned()),
            ..Overrides::default()
        };
        let config = resolved(overrides, Some(text)).unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:2");
        assert_eq!(config.durability, Durability::Os);
        assert_eq!(config.retention.age_max_s, Some(60));
        assert_eq!(config.retention.records_max, Some(9));
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.log_level, "warn");
        assert!(!config.development);
    }

    #[test]
    fn a_name_that_nobody_reads_is_refused_with_its_line() {
        refused(
            "data = 'd'\nlisen = 'x'\n",
            "s.toml line 2: unknown field `lisen`",
        );
        refused("\n\n[dialect.other]\n", "line 3: unknown field `other`");
        refused(
            "[dialect.pavbis]\nuser = {}\n",
            "s.toml line 2: unknown field `user`",
        );
        refused(
            "[retention]\nage = 1\n",
            "s.toml line 2: unknown field `age`",
        );
    }

    #[test]
    fn a_section_that_no_dialect_can_be_opened_with_is_refused_by_the_name_of_the_setting() {
        refused(
            "[dialect.newstore]\nsuccess_status = 302\n",
            "s.toml: dialect.newstore.success_status: 302 is not from 200 to 299",
        );
        refused(
            "[dialect.newstore]\npaths = ['/v1/logs']\n",
            "s.toml: dialect.newstore.paths: \"/v1/logs\" belongs to the native API",
        );
        refused(
            "[dialect.spotahome]\njwt_secret = 'short'\n",
            "s.toml: dialect.spotahome.jwt_secret: ",
        );
        refused(
            "[dialect.spotahome]\n",
            "s.toml: dialect.spotahome.jwt_secret: ",
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_with_its_line() {
        refused(
            "durability = 'maybe'",
            "s.toml line 1: unknown variant `maybe`",
        );
        refused("[retention]\nmax_bytes = -1\n", "s.toml line 2: ");
        refused("listen = ", "s.toml line 1: ");
        refused(
            "listen = 'a'\nlisten = 'b'\n",
            "s.toml line 2: duplicate key",
        );
    }

    #[test]
    fn a_segment_is_neither_too_short_for_events_nor_too_long_for_a_start() {
        let of = |text| resolved(Overrides::default(), Some(text)).map(|config| config.segment_len);
        assert_eq!(of(""), Ok(64 << 20));
        assert_eq!(of("segment_bytes = 1048576"), Ok(1 << 20));
        for bytes in ["0", "65535", "1073741825"] {
            let text = format!("segment_bytes = {bytes}");
            refused(&text, "is not between 65536 and 1073741824");
        }
    }

    #[test]
    fn slow_clients_are_given_a_time_that_makes_sense() {
        let of = |text| resolved(Overrides::default(), Some(text)).map(|config| config.limits);
        assert_eq!(of(""), Ok(Limits::default()));
        let text = "[timeouts]\nheader_seconds = 3\nbody_seconds = 4\nwrite_seconds = 3600\n";
        let expected = Limits {
            header_timeout: Duration::from_secs(3),
            body_timeout: Duration::from_secs(4),
            write_timeout: Duration::from_secs(3_600),
            ..Limits::default()
        };
        assert_eq!(of(text), Ok(expected));
        for name in ["header", "body", "write"] {
            for seconds in ["0", "3601"] {
                let text = format!("[timeouts]\n{name}_seconds = {seconds}\n");
                let want = format!("timeouts.{name}_seconds {seconds} is not between 1 and 3600");
                refused(&text, &want);
            }
        }
    }

    #[test]
    fn a_word_that_is_no_log_level_is_refused() {
        for level in [
            "nope",
            "warning",
            "",
            "info,",
            "info,debugging",
            "strandlog",
        ] {
            refused(
                &format!("[log]\nlevel = '{level}'"),
                "is none of error, warn, info, debug, trace, off",
            );
        }
        for level in [
            "warn",
            "INFO",
            "off",
            "strandlog=debug",
            "info, strandlog::store=debug",
        ] {
            let text = format!("[log]\nlevel = '{level}'");
            let config = resolved(Overrides::default(), Some(&text)).unwrap();
            assert_eq!(config.log_level, level);
        }
    }

    #[test]
    fn no_address_that_others_can_reach_is_accepted() {
        for address in ["0.0.0.0:7411", "[::]:7411", "192.168.1.1:80", "10.0.0.1:0"] {
            refused(&format!("listen = '{address}'"), "only loopback addresses");
        }
        for address in ["127.0.0.1", "example.org:80", ":7411", "localhost:x", ""] {
            refused(&format!("listen = '{address}'"), "is not ADDRESS:PORT");
        }
        for address in [
            "127.0.0.1:0",
            "127.8.9.10:1",
            "[::1]:7411",
            "localhost:7411",
        ] {
            assert!(resolved(Overrides::default(), Some(&format!("listen = '{address}'"))).is_ok());
        }
    }
}
