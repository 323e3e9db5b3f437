//! The gate and the on-node check. trimtab asks them after a node has settled and before the final
//! look. Ticks continue while it waits, however long an answer takes, and a negative answer is a
//! veto.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use trimtab_core::action::{ActionState, End, EventKind, ReleaseReason};
use trimtab_core::ids::{ActionId, GroupName, InstanceId};
use trimtab_core::policy::NodeLocalData;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::driver::{Driver, Intent, TickReport};
use trimtab_daemon::ledger::{HistoryRow, SqliteLedger};
use trimtab_daemon::ports::{Doorbell, Gate, Inquiry, InquiryState, Ports, Question, Ring};
use trimtab_simulator::World;
use trimtab_simulator::ports::PortOptions;
use trimtab_simulator::spec::WorldSpec;
use trimtab_tests::life::{Life, poll_once};
use trimtab_tests::worlds::{cluster_policy, group_policy, name};

/// Decides whether a node may be deleted.
type Rule = fn(usize, InstanceId) -> Result<(), Arc<str>>;

/// A simulated gate that answers after a fixed time by a rule, and records its questions.
struct Clerk {
    world: World,
    takes: Span,
    /// The rule, by the number of the question and the node.
    rule: Rule,
    diary: Arc<Mutex<Vec<Page>>>,
}

/// A recorded question and its answer.
#[derive(Clone)]
struct Page {
    question: Question,
    /// Time of the answer, unless the question is withdrawn.
    due: Time,
    withdrawn: Option<Time>,
}

impl Page {
    fn nodes(&self) -> impl Iterator<Item = InstanceId> {
        self.question.nodes.iter().map(|node| node.id)
    }

    fn actions(&self) -> BTreeSet<ActionId> {
        self.question.nodes.iter().map(|node| node.action).collect()
    }
}

impl Clerk {
    fn new(world: &World, takes: Span, rule: Rule) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), takes, rule, diary: Arc::default() })
    }

    fn pages(&self) -> Vec<Page> {
        self.diary.lock().expect("the lock is not poisoned").clone()
    }
}

impl Gate for Clerk {
    fn ask(&self, question: Question) -> Box<dyn Inquiry> {
        let mut diary = self.diary.lock().expect("the lock is not poisoned");
        let number = diary.len();
        let vetoes = question.nodes.iter().filter_map(|node| {
            let why = (self.rule)(number, node.id).err()?;
            Some((node.id, why))
        });
        let vetoes = vetoes.collect();
        assert_eq!(question.at, self.world.now());
        let due = question.at + self.takes;
        diary.push(Page { question, due, withdrawn: None });
        let diary = Arc::clone(&self.diary);
        Box::new(Slip { world: self.world.clone(), due, vetoes, diary, number })
    }
}

struct Slip {
    world: World,
    due: Time,
    vetoes: BTreeMap<InstanceId, Arc<str>>,
    diary: Arc<Mutex<Vec<Page>>>,
    number: usize,
}

impl Inquiry for Slip {
    fn state(&self) -> InquiryState {
        if self.world.now() < self.due {
            return InquiryState::Open;
        }
        InquiryState::Answered { at: self.due, vetoes: self.vetoes.clone() }
    }

    fn deadline(&self) -> Time {
        self.due
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        let now = self.world.now();
        if now < self.due {
            let mut diary = self.diary.lock().expect("the lock is not poisoned");
            diary[self.number].withdrawn = Some(now);
        }
    }
}

fn yes(_: usize, _: InstanceId) -> Result<(), Arc<str>> {
    Ok(())
}

fn no(_: usize, _: InstanceId) -> Result<(), Arc<str>> {
    Err("backup failed".into())
}

/// A world and the daemon that runs in it.
struct Stage {
    life: Life,
    options: PortOptions,
    gate: Option<Arc<Clerk>>,
    check: Option<Arc<Clerk>>,
    _folder: tempfile::TempDir,
}

const IDLE_SIX: &str = "[[group]]\nname = \"workers\"\ncount = 6\nprice_usd_per_hour = 20.0\n";

impl Stage {
    /// Groups whose names start with "workers" have data to save.
    fn new(text: &str) -> Self {
        let text = format!("duration = \"3h\"\n{text}");
        let spec = WorldSpec::parse(&text, "gate").expect("a valid world");
        let world = World::new(spec, vec![]).expect("a valid world");
        let spec = world.spec();
        let groups = spec.groups.iter().map(|group| {
            let mut policy = group_policy();
            policy.size = group.size();
            policy.partitions = vec![group.partition()];
            if group.name.as_str().starts_with("workers") {
                policy.node_local_data = Some(NodeLocalData::Gate);
            }
            (group.name.clone(), policy)
        });
        let mut policy = cluster_policy(groups.collect());
        policy.cluster = world.spec().cluster.clone();
        let folder = tempfile::tempdir().expect("a folder");
        let life = Life::new(world, policy, folder.path(), 1);
        let options = PortOptions::default();
        Self { life, options, gate: None, check: None, _folder: folder }
    }

    fn gate(mut self, takes: Span, rule: Rule) -> Self {
        self.gate = Some(Clerk::new(&self.life.world, takes, rule));
        self
    }

    fn check(mut self, takes: Span, rule: Rule) -> Self {
        self.check = Some(Clerk::new(&self.life.world, takes, rule));
        self
    }

    fn per_request(mut self, nodes: u32) -> Self {
        for group in self.life.policy.groups.values_mut() {
            group.budgets.per_request = NodeCount(nodes);
        }
        self
    }

    fn ports(&self) -> Ports {
        let gate = |clerk: &Option<Arc<Clerk>>| clerk.clone().map(|gate| gate as Arc<dyn Gate>);
        let ports = self.life.world.ports(self.options.clone());
        Ports { gate: gate(&self.gate), on_node_check: gate(&self.check), ..ports }
    }

    fn run(&self) {
        self.run_seeing(&mut |_| {});
    }

    fn run_seeing(&self, seen: &mut dyn FnMut(&TickReport)) {
        let ledger = Arc::new(self.life.open_ledger());
        self.life.run_with(self.ports(), ledger, &mut |report| {
            seen(report.expect("the ledger can be written"));
        });
    }

    fn asked(&self) -> Vec<Page> {
        self.gate.as_ref().map_or(vec![], |gate| gate.pages())
    }

    fn checked(&self) -> Vec<Page> {
        self.check.as_ref().map_or(vec![], |check| check.pages())
    }

    fn rows(&self) -> Vec<HistoryRow> {
        let reader = SqliteLedger::open_reader(self.life.ledger_path());
        reader.expect("the ledger is there").history(1000, None).expect("readable")
    }

    /// Checks that every requested node passed the gate and then the on-node check, for the same
    /// action, before the look began.
    fn assert_each_deletion_passed(&self) {
        let timing = self.life.policy.timing;
        let (asked, checked) = (self.asked(), self.checked());
        for row in self.rows() {
            let Some(request) = &row.request else { continue };
            let look = request.look_begun_at;
            assert!(request.at.since(look) <= timing.max_look_age);
            let mut before = row.action.marked_at;
            for (pages, is_wanted, holds) in [
                (&asked, row.action.group.as_str().starts_with("workers"), Span::hours(24)),
                (&checked, self.check.is_some(), timing.fresh_for),
            ] {
                if !is_wanted {
                    continue;
                }
                let passed = pages.iter().find(|page| {
                    page.withdrawn.is_none()
                        && page.actions().contains(&row.action.id)
                        && page.question.at >= before
                        && page.due <= look
                        && look.since(page.question.at) <= holds
                });
                let passed = passed.expect("every deleted node passed before its look");
                before = passed.due;
            }
        }
    }

    fn assert_nothing_went(&self) {
        let truth = self.life.world.truth();
        assert_eq!((truth.nodes_deleted(), truth.requests.len()), (0, 0));
        assert_eq!(truth.cordons, [], "a cordon is left");
    }

    fn deleted(&self) -> u64 {
        let truth = self.life.world.truth();
        assert_eq!(truth.cordons, [], "a cordon is left");
        assert_eq!((truth.lost_jobs().count(), truth.busy_nodes_deleted().count()), (0, 0));
        truth.nodes_deleted()
    }
}

/// Returns the veto reasons of this row's actions.
fn vetoes(row: &HistoryRow) -> Vec<String> {
    let veto = |event: &trimtab_daemon::ledger::ActionEvent| match &event.event.kind {
        EventKind::Veto(ReleaseReason::Vetoed(why)) => Some(why.to_string()),
        EventKind::Veto(_)
        | EventKind::Look(_)
        | EventKind::Cleared { .. }
        | EventKind::GroupRequestOver(_)
        | EventKind::Answered(_)
        | EventKind::Deadline
        | EventKind::Paused
        | EventKind::ClockStepped(_)
        | EventKind::Started => None,
    };
    row.events.iter().filter_map(veto).collect()
}

#[test]
fn a_gate_slower_than_max_look_age_is_followed_by_a_fresh_look() {
    let stage = Stage::new(IDLE_SIX).gate(Span::mins(4), yes);
    stage.run();
    assert!(stage.deleted() > 0, "the gate said yes, and nothing went");
    let mut seen = BTreeSet::new();
    for page in stage.asked() {
        assert!(page.nodes().all(|node| seen.insert(node)), "a node was asked about twice");
    }
    stage.assert_each_deletion_passed();
}

#[test]
fn ticks_and_other_groups_go_on_while_a_gate_takes_its_time() {
    let text = format!(
        "{IDLE_SIX}[[group]]\nname = \"scratch\"\ncount = 6\nprice_usd_per_hour = 20.0\n\
         [[job]]\nat = \"0s\"\nlength = \"10m\"\nnodes = 6\npartition = \"scratch\"\n"
    );
    let stage = Stage::new(&text).gate(Span::mins(20), yes);
    let mut ticks = vec![];
    stage.run_seeing(&mut |report| ticks.push(report.snapshot.taken_at));
    let asked = stage.asked();
    let first = asked.first().expect("the gate was asked");
    let meanwhile = |at: &Time| first.question.at < *at && *at < first.due;
    let tick = stage.life.policy.timing.tick;
    let during = ticks.iter().filter(|at| meanwhile(at)).count();
    assert!(during >= 9, "{during} ticks of {tick} in 20 minutes");
    let scratch: GroupName = name("scratch");
    let rows = stage.rows();
    let went = rows.iter().filter(|row| row.action.group == scratch);
    let went =
        went.filter(|row| row.request.as_ref().is_some_and(|request| meanwhile(&request.at)));
    assert!(went.count() > 0, "the other group waited for the gate");
    assert!(asked.iter().all(|page| page.question.group != scratch), "scratch has no data");
    assert_eq!(stage.deleted(), 12);
    stage.assert_each_deletion_passed();
}

#[test]
fn a_gates_no_hands_the_nodes_back_with_its_reason_and_leaves_them_alone() {
    let stage = Stage::new(IDLE_SIX).gate(Span::mins(3), no);
    stage.run();
    stage.assert_nothing_went();
    let rows = stage.rows();
    assert!(!rows.is_empty());
    let cooldown = stage.life.policy.timing.cooldown;
    let mut asked: BTreeMap<InstanceId, Time> = BTreeMap::new();
    for row in &rows {
        assert_eq!(vetoes(row), ["gate: backup failed"]);
        let ActionState::Ended { end: End::Released(_), at } = row.action.state else {
            panic!("{:?}", row.action.state)
        };
        asked
            .entry(row.action.node)
            .and_modify(|earlier| *earlier = at.min(*earlier))
            .or_insert(at);
    }
    for page in stage.asked() {
        for node in page.nodes() {
            let released = asked[&node];
            let again = page.question.at.since(released);
            assert!(page.question.at < released || again >= cooldown, "asked again too soon");
        }
    }
}

#[test]
fn data_that_a_gate_should_save_is_never_deleted_without_one() {
    let stage = Stage::new(IDLE_SIX).check(Span::secs(1), yes);
    stage.run();
    stage.assert_nothing_went();
    assert!(stage.checked().is_empty(), "the check was asked before the gate");
    let rows = stage.rows();
    assert!(!rows.is_empty());
    for row in rows {
        assert_eq!(vetoes(&row), ["gate: node_local_data requires one, but none is set"]);
    }
}

#[test]
fn a_node_that_is_claimed_after_the_gate_let_it_through_is_kept() {
    // Jobs start on all six nodes while the gate is working. The cordon of the negative control
    // does not prevent this.
    let text = format!("{IDLE_SIX}[[job]]\nat = \"25m\"\nlength = \"4h\"\nnodes = 6\n");
    let mut stage = Stage::new(&text).gate(Span::mins(20), yes);
    stage.options.cordon_disabled = true;
    stage.run();
    let asked = stage.asked();
    let first = asked.first().expect("the gate was asked before the jobs came");
    let come = stage.life.world.spec().start + Span::mins(25);
    assert!(first.question.at < come && come < first.due, "the jobs came at another time");
    let withdrawn = first.withdrawn.expect("the gate continued although a job started");
    assert!(withdrawn >= come && withdrawn.since(come) <= stage.life.policy.timing.tick);
    stage.assert_nothing_went();
}

#[test]
fn a_pause_ends_the_gate_and_takes_the_cordons_off() {
    let stage = Stage::new(IDLE_SIX).gate(Span::mins(20), yes);
    let mut ticks = 0;
    stage.run_seeing(&mut |_| {
        if stage.asked().len() == 1 {
            ticks += 1;
        }
        if ticks == 3 {
            stage.life.world.set_pause(Some("an operator looks".into()));
        }
    });
    let asked = stage.asked();
    let [page] = asked.as_slice() else { panic!("{} questions", asked.len()) };
    let withdrawn = page.withdrawn.expect("the gate went on in a pause");
    assert!(withdrawn < page.due);
    stage.assert_nothing_went();
}

#[test]
fn a_stop_ends_the_gate_and_takes_the_cordons_off() {
    // The world ends while the gate is working.
    let mut stage = Stage::new(IDLE_SIX).gate(Span::hours(10), yes);
    stage.life.policy.timing.settling_timeout = Span::hours(11);
    stage.run();
    let asked = stage.asked();
    let [page] = asked.as_slice() else { panic!("{} questions", asked.len()) };
    assert_eq!(page.withdrawn, Some(stage.life.world.end()));
    stage.assert_nothing_went();
}

#[test]
fn a_gate_that_outlasts_the_settling_timeout_is_ended() {
    let stage = Stage::new(IDLE_SIX).gate(Span::mins(50), yes);
    stage.run();
    let asked = stage.asked();
    assert!(!asked.is_empty() && asked.iter().all(|page| page.withdrawn.is_some()));
    stage.assert_nothing_went();
}

#[test]
fn a_yes_from_before_a_restart_counts_for_nothing() {
    let stage = Stage::new(IDLE_SIX).gate(Span::mins(10), yes);
    let world = stage.life.world.clone();
    poll_once(async {
        let ledger = Arc::new(stage.life.open_ledger());
        let policy = stage.life.policy.clone();
        let mut driver = Driver::start(stage.ports(), ledger, policy).await.expect("a start");
        let mut doorbell = world.doorbell(stage.life.policy.timing.tick);
        while stage.asked().is_empty() {
            let ring = doorbell.next(driver.deadline()).await;
            assert_ne!(ring, Ring::Stop, "the gate was never asked");
            driver.tick(ring, Intent::Act).await.expect("the ledger can be written");
        }
        // After a kill nothing is released.
    })
    .expect("nothing waits");
    let before = stage.asked();
    assert_eq!(before.len(), 1);
    let cordoned = world.truth().cordons.len();
    assert_eq!(cordoned, 6);
    world.advance_by(Span::mins(11));
    stage.run();
    assert!(stage.deleted() > 0);
    stage.assert_each_deletion_passed();
    for row in stage.rows() {
        let is_old = before[0].actions().contains(&row.action.id);
        assert!(!is_old || row.request.is_none(), "an action from before the restart was sent");
    }
}

#[test]
fn nodes_that_settle_while_the_gate_is_at_work_are_another_question() {
    // The nodes become idle one after the other.
    let jobs: String = (1..=5)
        .map(|n| format!("[[job]]\nat = \"0s\"\nlength = \"{}m\"\nnodes = 1\n", n * 7))
        .collect();
    let stage = Stage::new(&format!("{IDLE_SIX}{jobs}")).gate(Span::mins(10), yes).per_request(2);
    stage.run();
    assert_eq!(stage.deleted(), 6);
    stage.assert_each_deletion_passed();
    let asked = stage.asked();
    assert!(asked.len() >= 3, "{} questions", asked.len());
    let mut seen = BTreeSet::new();
    for pair in asked.windows(2) {
        assert!(pair[0].due <= pair[1].question.at, "two questions at a time in one group");
    }
    for page in &asked {
        assert!(page.withdrawn.is_none() && page.question.nodes.len() <= 2);
        assert!(page.actions().into_iter().all(|action| seen.insert(action)), "asked twice");
    }
}

#[test]
fn the_check_comes_after_the_gate_and_right_before_the_look() {
    let stage =
        Stage::new(IDLE_SIX).gate(Span::mins(20), yes).check(Span::secs(10), yes).per_request(3);
    stage.run();
    assert_eq!(stage.deleted(), 6);
    stage.assert_each_deletion_passed();
    let gates_end = stage.asked().iter().map(|page| page.due).min().expect("it was asked");
    assert!(stage.checked().iter().all(|page| page.question.at >= gates_end));
    // Close to the look: within seconds, not only within `fresh_for`.
    for row in stage.rows() {
        let Some(request) = &row.request else { continue };
        let checked = stage.checked();
        let page = checked.iter().find(|page| page.actions().contains(&row.action.id));
        let due = page.expect("it was checked").due;
        assert!(request.look_begun_at.since(due) <= Span::secs(1), "a stale check");
    }
}

/// People are logged in on half of the nodes, the same ones at every question.
fn people_on_some(_: usize, node: InstanceId) -> Result<(), Arc<str>> {
    let last = node.to_string().bytes().last().unwrap_or_default();
    if last.is_multiple_of(2) { Err("ssh: 1 session".into()) } else { Ok(()) }
}

#[test]
fn a_check_keeps_the_nodes_it_names_and_no_others() {
    let text = "[[group]]\nname = \"scratch\"\ncount = 12\nprice_usd_per_hour = 20.0\n";
    let stage = Stage::new(text).check(Span::secs(5), people_on_some);
    stage.run();
    let truth = stage.life.world.truth();
    let named: BTreeSet<InstanceId> = truth.asked.iter().map(|asked| asked.node).collect();
    assert!(!named.is_empty() && named.len() < 12, "{} of 12 nodes were deleted", named.len());
    assert!(named.iter().all(|node| people_on_some(0, *node).is_ok()));
    assert_eq!(stage.deleted(), named.len() as u64);
    stage.assert_each_deletion_passed();
    let rows = stage.rows();
    let kept: Vec<String> = rows.iter().flat_map(vetoes).collect();
    assert!(!kept.is_empty() && kept.iter().all(|why| why == "on-node check: ssh: 1 session"));
}

#[test]
fn what_a_check_saw_grows_old() {
    // The scheduler stops answering when the check is asked, and answers again 12 minutes later.
    let text = "[[group]]\nname = \"scratch\"\ncount = 2\nprice_usd_per_hour = 20.0\n";
    let begins = {
        let stage = Stage::new(text).check(Span::mins(1), yes);
        stage.run();
        let checked = stage.checked();
        checked.first().expect("it was checked").question.at.since(stage.life.world.spec().start)
    };
    let silent = format!(
        "{text}[[fault]]\nat = \"{}s\"\nfor = \"12m\"\nkind = \"scheduler-silent\"\n",
        begins.0 / 1000 + 1
    );
    let stage = Stage::new(&silent).check(Span::mins(1), yes);
    stage.run();
    let checked = stage.checked();
    let [first, second, ..] = checked.as_slice() else {
        panic!("an approval of 12 minutes ago was used as a current one")
    };
    assert_eq!(first.actions(), second.actions(), "the same actions wait on");
    assert!(second.question.at.since(first.due) > stage.life.policy.timing.fresh_for);
    assert_eq!(stage.deleted(), 2);
    stage.assert_each_deletion_passed();
}
