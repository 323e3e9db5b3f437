//! The log: lines for people on a terminal, JSON everywhere else.
//!
//! What stands in it may come from whoever names a job or a node, so no control
//! character of a value is ever written as it is: a line is a line, and a terminal
//! is not told what to do. What libraries say of requests stays out unless somebody
//! names the library, whatever the level: a request is signed, and its headers are
//! as good as a key for some minutes.

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

/// What an operator asked to be told (SIGUSR1): shown at every level.
pub(crate) const STATUS: &str = "trimtab::status";

/// Libraries that see requests, by the beginning of their targets: their warnings
/// only. A directive that names one of them more exactly, or by the same name,
/// comes before these.
const LIBRARIES: &str =
    "aws_=warn,hyper=warn,h2=warn,rustls=warn,smithy_client=warn,tokio_cron_scheduler=warn";

/// A level that cannot be understood: exit code 78.
#[derive(Debug, thiserror::Error)]
#[error(
    "{VARIABLE}=`{}`: {why}; write a level (`error`, `warn`, `info`, `debug`, `trace`) or a list \
     like `info,trimtab_daemon=debug`", text.escape_debug()
)]
pub(crate) struct BadLevel {
    text: String,
    why: String,
}

/// The running log: its level can be changed.
#[derive(Clone)]
pub(crate) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Choice>,
}

/// What the log shows, in the words of [`VARIABLE`].
struct Choice {
    chosen: Mutex<String>,
    /// The variable says so: whatever the configuration says comes after it.
    is_by_variable: bool,
    debugging: AtomicBool,
}

impl Log {
    /// Starts the log on stderr, at the level that the environment names, else at
    /// this one. Once in a process's life.
    ///
    /// # Errors
    /// When the level cannot be understood.
    pub(crate) fn start(default: &str) -> Result<Self, BadLevel> {
        let named = std::env::var(VARIABLE).ok().filter(|text| !text.trim().is_empty());
        let is_by_variable = named.is_some();
        let (layer, log) = Self::at(named.unwrap_or_else(|| default.to_owned()), is_by_variable)?;
        let form = Form::of_stderr();
        tracing_subscriber::registry().with(layer).with(form.layer(io::stderr)).init();
        Ok(log)
    }

    /// A log at this level, and the filter to put before whatever writes it.
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

    /// Shows what the configuration says from now on, unless the variable says something.
    pub(crate) fn configure(&self, level: &LogLevel) {
        if self.level.is_by_variable {
            return;
        }
        *self.chosen() = level.as_str().to_owned();
        match filter(level.as_str()).map(|filter| self.filter.reload(filter)) {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::error!(%why, "the log's level could not be changed"),
            Err(why) => tracing::error!(%why, "the log's level could not be changed"),
        }
    }

    fn chosen(&self) -> MutexGuard<'_, String> {
        self.level.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns `debug` on, or back to what was chosen, and says so.
    pub(crate) fn toggle_debug(&self) {
        let debugging = !self.level.debugging.fetch_xor(true, Ordering::Relaxed);
        let chosen = self.chosen().clone();
        // What is named by target stays as it was chosen.
        let wanted = if debugging { format!("{chosen},debug") } else { chosen.clone() };
        let changed = filter(&wanted).map(|filter| self.filter.reload(filter));
        match changed {
            Ok(Ok(())) if debugging => {
                tracing::info!(target: STATUS, showing = "debug", "SIGUSR2: debug is on");
            }
            Ok(Ok(())) => {
                tracing::info!(target: STATUS, showing = %chosen, "SIGUSR2: debug is off");
            }
            Ok(Err(why)) => tracing::error!(%why, "the log's level could not be changed"),
            Err(why) => tracing::error!(%why, "the log's level could not be changed"),
        }
    }
}

/// The filter for these directives. Later ones win over earlier ones of the same
/// target, and longer targets over shorter ones.
///
/// # Errors
/// What cannot be understood.
fn filter(directives: &str) -> Result<EnvFilter, Refused> {
    for directive in directives.split(',') {
        check(directive.trim())?;
    }
    let text = format!("{LIBRARIES},{STATUS}=info,{directives}");
    Ok(EnvFilter::builder().parse(text)?)
}

/// Takes a level, or a target with one. [`EnvFilter`] takes more: a lone word that is
/// no level for a target at `trace`, so that a typing error would silence the log, and
/// spans, which would let through what libraries say of requests while one is open.
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

/// Why directives are no filter.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("`{text}` is neither a level nor a target with one")]
    Directive { text: String },
    #[error(transparent)]
    Parse(#[from] ParseError),
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// For people.
    Lines { colours: bool },
    /// For tools: one object a line. For the journal each begins with its priority,
    /// which the journal takes off and files.
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

    /// What writes lines of this form into `sink`.
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

/// `JOURNAL_STREAM` names the device and inode of what the service manager gave us
/// as stderr; somebody may have redirected it since.
fn is_journal(variable: &str, stderr: (u64, u64)) -> bool {
    let parsed = variable.split_once(':').and_then(|(device, inode)| {
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    parsed == Some(stderr)
}

/// `name=value`, or the message alone.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Escaped(writer), "{value:?}")
}

/// Writes control characters, line ends included, as their escapes.
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

/// Makes JSON lines safe to look at: JSON escapes control characters below 0x20 and
/// leaves DEL and the C1 ones, which terminals obey, too.
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

/// The prefix by which the journal learns a line's priority (sd-daemon(3)).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// One line on its way; it comes in one piece.
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

    /// Where a test's lines go.
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

    /// What is written in this form at this level while `speak` runs.
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
