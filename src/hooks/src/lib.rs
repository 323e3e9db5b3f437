//! Implements the daemon's [`Gate`] port with hooks, the operator's own programs.
//!
//! [`GateProgram`] is a gate: it runs one program per question, which reads all nodes as JSON
//! from its standard input and may, for example, save what is on their disks. [`NodeProgram`]
//! runs one program per node, with the node in its arguments, to check the node itself through
//! ssh or an agent.
//!
//! Both answer with their exit code. 0 approves the deletion. Everything else is a veto:
//! another code, a signal, a program that exceeds its time limit, cannot be started, prints too
//! many errors, or is not trusted ([`trimtab_program::trusted`], checked before every run). The
//! first line on standard error is reported as the reason.
//!
//! The daemon's loop does not wait for a program. The command line passes in the function that
//! runs it ([`Start`]). Dropping an inquiry kills its programs and their children.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use trimtab_config::HookSettings;
use trimtab_core::ids::InstanceId;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{Clock, Inquiry, InquiryState};
use trimtab_program::{Task, trusted};

mod gate;
mod node;

pub use gate::{GateProgram, SCHEMA_VERSION};
pub use node::NodeProgram;

/// Runs a future in the background until it ends.
pub type Start = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// `PATH` of a program.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Time after the limit before a program without an answer is vetoed: starting and ending it
/// takes a moment.
const SLACK: Span = Span::secs(10);

/// Nodes that must not be deleted, and why.
type Vetoes = BTreeMap<InstanceId, Arc<str>>;

/// Settings and functions that every program needs.
#[derive(Clone)]
struct Runner {
    hook: HookSettings,
    clock: Arc<dyn Clock>,
    start: Start,
}

impl Runner {
    /// Starts to compute the vetoes of a question about these nodes.
    fn begin(
        &self,
        nodes: Vec<InstanceId>,
        deadline: Time,
        work: impl Future<Output = Vetoes> + Send + 'static,
    ) -> Box<dyn Inquiry> {
        let (withdraw, withdrawn) = oneshot::channel::<Infallible>();
        let answer = Arc::new(OnceLock::new());
        let (clock, put) = (Arc::clone(&self.clock), Arc::clone(&answer));
        (self.start)(Box::pin(async move {
            tokio::select! {
                biased;
                // The other end sends nothing. It is dropped when the answer is no longer
                // needed.
                _ = withdrawn => {}
                vetoes = work => {
                    // There is one question, so this is its only answer.
                    let _ = put.set((clock.now(), vetoes));
                }
            }
        }));
        let (clock, deadline) = (Arc::clone(&self.clock), deadline + SLACK);
        Box::new(UnderWay { nodes, answer, clock, deadline, _withdraw: withdraw })
    }

    /// # Errors
    /// The reason of the veto.
    async fn run(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<(), Arc<str>> {
        let named = self.hook.command.first().map_or("", String::as_str);
        let program = trusted(Path::new(named)).map_err(|why| why.to_string())?;
        let task = Task {
            program: &program,
            arguments,
            environment: &[
                ("PATH", OsStr::new(PATH)),
                ("LC_ALL", OsStr::new("C.UTF-8")),
                ("TZ", OsStr::new("UTC")),
            ],
            input,
            output_max: None,
            time_max: Duration::from_millis(self.hook.time_limit.0.max(0).unsigned_abs()),
        };
        let ended = trimtab_program::run(&task).await.map_err(|why| format!("{named} {why}"))?;
        if ended.status.success() {
            return Ok(());
        }
        let complaint = ended.complaint();
        Err(match complaint.as_str() {
            "" => format!("{named}: {}, no error output", ended.status),
            said => format!("{named}: {}: {said}", ended.status),
        }
        .into())
    }
}

/// A question whose programs are running.
struct UnderWay {
    nodes: Vec<InstanceId>,
    answer: Arc<OnceLock<(Time, Vetoes)>>,
    clock: Arc<dyn Clock>,
    deadline: Time,
    _withdraw: oneshot::Sender<Infallible>,
}

impl Inquiry for UnderWay {
    fn state(&self) -> InquiryState {
        if let Some((at, vetoes)) = self.answer.get() {
            return InquiryState::Answered { at: *at, vetoes: vetoes.clone() };
        }
        // The future was not run to its end.
        if self.clock.now() >= self.deadline {
            let why: Arc<str> = "no answer within the time limit".into();
            let vetoes = self.nodes.iter().map(|node| (*node, Arc::clone(&why))).collect();
            return InquiryState::Answered { at: self.deadline, vetoes };
        }
        InquiryState::Open
    }

    fn deadline(&self) -> Time {
        self.deadline
    }
}
