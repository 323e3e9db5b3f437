//! The log: plain lines on a terminal, JSON everywhere else.
//!
//! Names of jobs and nodes come from users, so control characters in values are escaped: a value
//! cannot forge a line or control a terminal. Libraries that see HTTP requests log only warnings
//! unless a directive names them, because the headers of a signed request work like a password
//! for some minutes.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::Field;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};
use trimtab_config::LogLevel;

/// The environment variable that sets the level.
const VARIABLE: &str = "TRIMTAB_LOG";

/// Target of the status that an operator requests with SIGUSR1: shown at every level.
pub(crate) const STATUS: &str = "trimtab::status";

/// Directives for libraries that see requests: warnings only. A directive of the operator with
/// the same target or a longer one overrides these.
const LIBRARIES: &str =
    "aws_=warn,hyper=warn,h2=warn,rustls=warn,smithy_client=warn,tokio_cron_scheduler=warn";

/// An invalid log level: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error(
    "invalid {VARIABLE}=`{}`: {why}; write a level (`error`, `warn`, `info`, `debug`, `trace`) or \
     a list such as `info,trimtab_daemon=debug`", text.escape_debug()
)]
pub(crate) struct BadLevel {
    text: String,
    why: String,
}

/// The running log, whose level can be changed.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Choice>,
}

/// The directives in use, in the syntax of [`VARIABLE`].
struct Choice {
    chosen: Mutex<String>,
    /// Whether [`VARIABLE`] set them; it overrides the configuration.
    is_by_variable: bool,
    debugging: AtomicBool,
}

impl Log {
    /// Starts the log on stderr, at the level of [`VARIABLE`] or else at `default`. Call it once
    /// per process.
    ///
    /// # Errors
    /// When the level is invalid.
    pub(crate) fn start(default: &str) -> Result<Self, BadLevel> {
        let named = std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty());
        let is_by_variable = named.is_some();
        let (layer, log) = Self::at(named.unwrap_or_else(|| default.to_owned()), is_by_variable)?;
        let form = Form::of_stderr();
        tracing_subscriber::registry().with(layer).with(form.layer(io::stderr)).init();
        Ok(log)
    }

    /// Creates a log at this level and the filter layer for its writer.
    fn at(
        chosen: String,
        is_by_variable: bool,
    ) -> Result<(reload::Layer<EnvFilter, Registry>, Self), BadLevel> {
        let filter = filter(&chosen)
            .map_err(|why| BadLevel { text: chosen.clone(), why: why.to_string() })?;
        let (layer, filter) = reload::Layer::new(filter);
        let level = Choice {
            chosen: Mutex::new(chosen),
            is_by_variable,
            debugging: AtomicBool::new(false),
        };
        Ok((layer, Self { filter, level: Arc::new(level) }))
    }

    /// Applies the level of the configuration, unless [`VARIABLE`] is set.
    pub(crate) fn configure(&self, level: &LogLevel) {
        if self.level.is_by_variable {
            return;
        }
        *self.chosen() = level.as_str().to_owned();
        match filter(level.as_str()).map(|filter| self.filter.reload(filter)) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::error!(%why, "changing the log level failed"),
            Err(why) => tracing::error!(%why, "changing the log level failed"),
        }
    }

    fn chosen(&self) -> MutexGuard<'_, String> {
        self.level.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns `debug` on, or restores the chosen level, and logs the change.
    pub(crate) fn toggle_debug(&self) {
        let debugging = !self.level.debugging.fetch_xor(true, Ordering::Relaxed);
        let chosen = self.chosen().clone();
        // Directives with a target keep their level.
        let wanted = if debugging { format!("{chosen},debug") } else { chosen.clone() };
        let changed = filter(&wanted).map(|filter| self.filter.reload(filter));
        match changed {
            Ok(Ok(())) if debugging => {
                tracing::info!(target: STATUS, showing = "debug", "SIGUSR2: debug is on");
            }
            Ok(Ok(())) => {
                tracing::info!(target: STATUS, showing = %chosen, "SIGUSR2: debug is off");
            }
            Ok(Err(why)) => tracing::error!(%why, "changing the log level failed"),
            Err(why) => tracing::error!(%why, "changing the log level failed"),
        }
    }
}

/// Builds the filter for these directives. A later directive overrides an earlier one with the
/// same target, and a longer target overrides a shorter one.
///
/// # Errors
/// When a directive is invalid.
fn filter(directives: &str) -> Result<EnvFilter, Refused> {
    for directive in directives.split(',') {
        check(directive.trim())?;
    }
    let text = format!("{LIBRARIES},{STATUS}=info,{directives}");
    Ok(EnvFilter::builder().parse(text)?)
}

/// Accepts a level, or a target with a level. [`EnvFilter`] accepts more: a single word that is
/// not a level counts as a target at `trace`, so a typing error would silence the log. A span
/// directive would show the requests that libraries log inside a span.
fn check(directive: &str) -> Result<(), Refused> {
    let (target, level) = match directive.split_once('=') {
        Some((target, level)) => (Some(target), level),
        None => (None, directive),
    };
    let refused = || Refused::Directive { text: directive.escape_debug().to_string() };
    let is_target = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c))
    };
    if level.is_empty() || target.is_some_and(|target| !is_target(target)) {
        return Err(refused());
    }
    level.parse::<LevelFilter>().map(drop).map_err(|_| refused())
}

/// Why directives are invalid.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("`{text}` is neither a level nor a target with a level")]
    Directive { text: String },
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// Format of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Plain lines for operators.
    Lines { colours: bool },
    /// One JSON object per line. For the journal, each line starts with its priority, which the
    /// journal removes and stores.
    Json { to_journal: bool },
}

impl Form {
    fn of_stderr() -> Self {
        if io::stderr().is_terminal() {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            return Self::Lines { colours: !refused };
        }
        let journal = std::env::var("JOURNAL_STREAM");
        let stderr = std::fs::metadata("/proc/self/fd/2").map(|file| (file.dev(), file.ino()));
        let to_journal = journal.is_ok_and(|text| stderr.is_ok_and(|file| is_journal(&text, file)));
        Self::Json { to_journal }
    }

    /// Returns a layer that writes lines of this format to `sink`.
    fn layer<S, W>(self, sink: W) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        match self {
            Self::Lines { colours } => tracing_subscriber::fmt::layer()
                .with_ansi(colours)
                .with_target(false)
                .fmt_fields(debug_fn(write_field).delimited(" "))
                .with_writer(sink)
                .boxed(),
            Self::Json { to_journal } => tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_writer(Printable { sink, to_journal })
                .boxed(),
        }
    }
}

/// Whether stderr is the journal. `JOURNAL_STREAM` holds the device and inode of the stderr that
/// the service manager passed; a shell may have redirected stderr since.
fn is_journal(variable: &str, stderr: (u64, u64)) -> bool {
    let parsed = variable.split_once(':').and_then(|(device, inode)| {
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    parsed == Some(stderr)
}

/// Writes `name=value`, or only the value for the message.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaped(writer), "{value:?}")
}

/// Writes control characters, including line ends, as escapes.
struct Escaped<'a, W>(&'a mut W);

impl<W: fmt::Write> fmt::Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            let control = part.chars().next_back().filter(|c| c.is_control());
            let Some(control) = control else {
                self.0.write_str(part)?;
                continue;
            };
            self.0.write_str(&part[..part.len() - control.len_utf8()])?;
            write!(self.0, "{}", control.escape_default())?;
        }
        Ok(())
    }
}

/// Makes JSON lines safe for a terminal: JSON escapes control characters below 0x20 but not DEL
/// and the C1 controls, which terminals also execute.
struct Printable<W> {
    sink: W,
    to_journal: bool,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Printable<W> {
    type Writer = PrintableLine<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        PrintableLine { sink: self.sink.make_writer(), prefix: "" }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        let prefix = if self.to_journal { priority(*meta.level()) } else { "" };
        PrintableLine { sink: self.sink.make_writer_for(meta), prefix }
    }
}

/// Returns the prefix that sets the priority of a line in the journal (sd-daemon(3)).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Writer of one line, which arrives in one call.
struct PrintableLine<W> {
    sink: W,
    prefix: &'static str,
}

impl<W: Write> Write for PrintableLine<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut text = String::with_capacity(line.len() + self.prefix.len());
        text.push_str(self.prefix);
        for c in String::from_utf8_lossy(line).chars() {
            match c {
                '\u{7f}'..='\u{9f}' => {
                    // Writing into a string cannot fail.
                    let _ = write!(text, "\\u{:04x}", u32::from(c));
                }
                c => text.push(c),
            }
        }
        self.sink.write_all(text.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Collects the lines of a test.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("text")
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns what is logged in this format at this level while `speak` runs.
    fn written(form: Form, level: &str, speak: impl FnOnce(&Log)) -> String {
        let page = Page::default();
        let sink = page.clone();
        let (layer, log) = Log::at(level.to_owned(), false).expect("a level");
        let layers = form.layer(move || sink.clone());
        let subscriber = tracing_subscriber::registry().with(layer).with(layers);
        tracing::subscriber::with_default(subscriber, || speak(&log));
        page.text()
    }

    const HOSTILE: &str = "job\u{1b}[2J\n2026 ERROR forged\r\u{7f}\u{9b}31m\u{7}é";

    fn hostile(_: &Log) {
        tracing::info!(name = %HOSTILE, quoted = HOSTILE, debugged = ?HOSTILE, "{HOSTILE}");
    }

    #[test]
    fn no_control_character_of_a_value_is_written_as_it_is() {
        for form in [
            Form::Lines { colours: false },
            Form::Json { to_journal: false },
            Form::Json { to_journal: true },
        ] {
            let text = written(form, "info", hostile);
            let line = text.strip_suffix('\n').expect("a whole line");
            assert!(!line.contains(char::is_control), "{form:?}: {line:?}");
            assert!(line.contains('é'), "{form:?}: {line}");
        }
        let colours = written(Form::Lines { colours: true }, "info", hostile);
        assert!(!colours.contains("\u{1b}[2J") && !colours.contains("\n2026"), "{colours:?}");
        assert!(colours.contains("\u{1b}["), "{colours:?}");
    }

    #[test]
    fn a_json_line_gives_its_values_back_as_they_were() {
        let text = written(Form::Json { to_journal: false }, "info", hostile);
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["name"], HOSTILE);
        assert_eq!(line["message"], HOSTILE);
        assert_eq!(line["level"], "INFO");
        let filed = written(Form::Json { to_journal: true }, "info", hostile);
        let line = filed.strip_prefix("<6>").expect("a priority");
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }

    fn speak_of_requests() {
        tracing::trace!(target: "aws_smithy_runtime::client", "authorization");
        tracing::debug!(target: "aws_sdk_sagemaker::operation", "authorization");
        tracing::debug!(target: "aws_sigv4::http_request", "authorization");
        tracing::debug!(target: "aws_config::profile", "authorization");
        tracing::trace!(target: "hyper_util::client", "authorization");
        tracing::debug!(target: "hyper::proto", "authorization");
        tracing::trace!(target: "h2::codec", "authorization");
        tracing::debug!(target: "rustls::client", "authorization");
    }

    #[test]
    fn libraries_say_nothing_of_requests_at_any_level_unless_they_are_named() {
        let json = Form::Json { to_journal: false };
        for level in ["info", "debug", "trace", "trace,trimtab=trace", "debug,aws=trace"] {
            let text = written(json, level, |log| {
                speak_of_requests();
                log.toggle_debug();
                speak_of_requests();
            });
            assert!(!text.contains("authorization"), "{level}: {text}");
        }
        for named in ["aws_smithy_runtime=trace", "aws_=trace", "aws_sigv4=debug", "hyper=debug"] {
            let text = written(json, &format!("warn,{named}"), |_| speak_of_requests());
            assert!(text.contains("authorization"), "{named}");
        }
        let warned = written(json, "info", |_| {
            tracing::warn!(target: "aws_config", "no region");
        });
        assert!(warned.contains("no region"));
    }

    #[test]
    fn debug_comes_and_goes_and_status_is_always_shown() {
        let speak = || {
            tracing::debug!("detail");
            tracing::info!(target: STATUS, "asked for");
        };
        let count = |text: &str, word: &str| text.matches(word).count();
        let text = written(Form::Json { to_journal: false }, "error", |log| {
            speak();
            log.toggle_debug();
            speak();
            log.toggle_debug();
            speak();
        });
        assert_eq!(count(&text, "\"detail\""), 1, "{text}");
        assert_eq!(count(&text, "asked for"), 3, "{text}");
        assert_eq!(count(&text, "debug is on"), 1, "{text}");
        assert_eq!(count(&text, "debug is off"), 1, "{text}");
    }

    #[test]
    fn a_level_that_makes_no_sense_is_an_error_that_says_what_to_write() {
        for bad in [
            "loud",
            "inof,trimtab=debug",
            "info,trimtab=",
            "info,",
            "[tick]=trace",
            "info=debug=warn",
        ] {
            let why = Log::at(bad.to_owned(), false).err().expect(bad).to_string();
            assert!(why.contains(bad) && why.contains("trimtab_daemon=debug"), "{why}");
        }
        assert!(Log::at("info,trimtab_daemon=debug".to_owned(), false).is_ok());
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(is_journal("8:12345", (8, 12345)));
        for other in ["8:12346", "9:12345", "", "8", "8:", "8:12345:1", "x:y"] {
            assert!(!is_journal(other, (8, 12345)), "{other}");
        }
    }
}
