//! Hooks: the operator's own programs behind the daemon's [`Gate`] port.
//!
//! [`GateProgram`] runs one program for all nodes of a question, which it reads
//! as JSON on its standard input: a gate, which may save what is on their disks.
//! [`NodeProgram`] runs one for each node, whose name stands in its arguments: a
//! look at the node itself, through ssh or an agent.
//!
//! Both answer by their exit code. 0 is a yes. Everything else is a veto: another
//! code, a signal, a program that is late, cannot be started, complains without
//! end, or is not to be trusted ([`trimtab_program::trusted`], asked before every
//! run). The first line of what it complains of is told as the reason.
//!
//! Nothing waits for a program. The command line hands in what keeps it going
//! ([`Start`]); whoever drops an inquiry ends its programs and their children.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;
use trimtab_core::ids::InstanceId;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::config::HookSettings;
use trimtab_daemon::ports::{Clock, Inquiry, InquiryState};
use trimtab_program::{Task, trusted};

mod gate;
mod node;

pub use gate::{GateProgram, SCHEMA_VERSION};
pub use node::NodeProgram;

/// Keeps something going beside the daemon's loop until it is over.
pub type Start = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// Where a program looks for the programs it runs itself.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much later than its time limit a program is called silent: starting and
/// ending it takes a moment.
const SLACK: Span = Span::secs(10);

/// Nodes that may not go, and why not.
type Vetoes = BTreeMap<InstanceId, Arc<str>>;

/// What every program here needs.
#[derive(Clone)]
struct Runner {
    hook: HookSettings,
    clock: Arc<dyn Clock>,
    start: Start,
}

impl Runner {
    /// Begins to work out the vetoes of a question about these nodes.
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
                // Nobody sends anything: whoever drops the other end wants no answer.
                _ = withdrawn => {}
                vetoes = work => {
                    // There is one question, so this is the first answer.
                    let _ = put.set((clock.now(), vetoes));
                }
            }
        }));
        let (clock, deadline) = (Arc::clone(&self.clock), deadline + SLACK);
        Box::new(UnderWay { nodes, answer, clock, deadline, _withdraw: withdraw })
    }

    /// Runs the program once.
    ///
    /// # Errors
    /// Why what it was asked about may not go.
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
            "" => format!("{named}: {}, without a word", ended.status),
            said => format!("{named}: {}: {said}", ended.status),
        }
        .into())
    }
}

/// A question that programs are at work on.
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
        // Whatever was to keep it going does not.
        if self.clock.now() >= self.deadline {
            let why: Arc<str> = "no answer in time".into();
            let vetoes = self.nodes.iter().map(|node| (*node, Arc::clone(&why))).collect();
            return InquiryState::Answered { at: self.deadline, vetoes };
        }
        InquiryState::Open
    }

    fn deadline(&self) -> Time {
        self.deadline
    }
}
