use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;
use trimtab_core::action::{
    ActionState, Answer, End, Event, EventKind, Evidence, ReleaseReason, RequestScope, Terms,
};
use trimtab_core::audit;
use trimtab_core::cordon::CordonStatus;
use trimtab_core::history::{Charge, Freeze, FreezeReason, Gone, History, MassTurn, OpenAction};
use trimtab_core::ids::{GroupName, RequestId};
use trimtab_core::plan::{Bound, GroupFigures, KeepReason, NodeVerdict, Usage, Verdict};
use trimtab_core::policy::{
    Amount, Budgets, ClusterPolicy, EvidenceSource, Factor, GroupCalls, GroupPolicy,
    MassChangeLimit, NodeLocalData, Prefer, Regain, TimerChoice, Timing,
};
use trimtab_core::reads::{
    Capacity, Claim, ClusterState, ClusterStatus, Condition, GroupDescription, InstanceStatus,
    NodeCapacity, Provisioning, Reading, Role,
};
use trimtab_core::rule::{BootCost, Class, Counts, GroupState, Member, Sample};
use trimtab_core::snapshot::{
    GroupView, Identity, Listing, NodeView, SchedulerStatus, Snapshot, WorkloadSource,
};
use trimtab_core::units::{MilliGpus, Share, Usd, UsdPerHour};

use super::*;
use crate::ports::{Ring, SwitchEntry};

mod requests;

const TICK: Span = Span::mins(2);
const MAX_GAP: Span = Span::mins(6);
const START: Time = Time::from_secs(1_800_000_000);

fn cluster() -> ClusterName {
    "research".parse().unwrap()
}

fn group() -> GroupName {
    "workers-g5".parse().unwrap()
}

fn node(number: u128) -> InstanceId {
    InstanceId::from_number(number)
}

fn counts(idle: u32, busy: u32) -> Counts {
    Counts { busy: NodeCount(busy), idle: NodeCount(idle), ..Counts::default() }
}

/// A cluster that the tests observe: its first `idle` nodes are idle, the others busy.
struct World {
    at: Time,
    nodes: u32,
    departed: u64,
    groups: BTreeMap<GroupName, GroupState>,
}

impl World {
    fn new(nodes: u32) -> Self {
        Self { at: START, nodes, departed: 0, groups: BTreeMap::new() }
    }

    /// Adds one sample to the state and records it in the ledger.
    fn observe(&mut self, ledger: &SqliteLedger, idle: u32) -> TickId {
        self.at = self.at + TICK;
        self.fold(idle);
        self.record(ledger, None).unwrap()
    }

    fn fold(&mut self, idle: u32) {
        let state = self.groups.entry(group()).or_default();
        let sample = Sample {
            at: self.at,
            counts: counts(idle, self.nodes - idle),
            departed: self.departed,
        };
        state.fold(sample, MAX_GAP);
        let before = std::mem::take(&mut state.members);
        for number in 0..self.nodes {
            let id = node(u128::from(number));
            let was = before.get(&id).and_then(|member| member.idle_since);
            let is_idle = number < idle;
            let member = Member {
                class: if is_idle { Class::Idle } else { Class::Busy },
                idle_since: is_idle.then(|| was.unwrap_or(self.at)),
                joined: true,
            };
            state.members.insert(id, member);
        }
        state.largest = state.largest.max(NodeCount(self.nodes));
    }

    fn record(&self, ledger: &SqliteLedger, gap: Option<&str>) -> Result<TickId, LedgerError> {
        ledger.record_observation(&Observation {
            cluster: &cluster(),
            at: self.at,
            begun_at: self.at - Span::secs(3),
            ring: Ring::Schedule,
            gap,
            groups: &self.groups,
            freeze: None,
        })
    }

    /// Records verdicts on the nodes of the last sample.
    fn decide(&self, ledger: &SqliteLedger, tick: TickId) {
        let verdicts = self.verdicts();
        let decision = Decision { verdicts: &verdicts, ..self.decision(tick) };
        ledger.record_decision(&decision).unwrap();
    }

    fn verdicts(&self) -> Vec<NodeVerdict> {
        let members = self.groups.values().flat_map(|state| &state.members);
        let word = |member: &Member| match member.class {
            Class::Idle => Verdict::Keep(KeepReason::Enough(Bound::Floor)),
            Class::Leaving | Class::Impaired | Class::Arriving | Class::Unknown | Class::Busy => {
                Verdict::Keep(KeepReason::Busy(Claim::Planned))
            }
        };
        members
            .zip(0u128..)
            .map(|((id, member), number)| NodeVerdict {
                node: *id,
                name: Some(format!("ip-10-0-0-{number}").parse().unwrap()),
                group: group(),
                verdict: word(member),
            })
            .collect()
    }

    fn decision(&self, tick: TickId) -> Decision<'static> {
        static CLUSTER: std::sync::OnceLock<ClusterName> = std::sync::OnceLock::new();
        static FIGURES: BTreeMap<GroupName, GroupFigures> = BTreeMap::new();
        Decision {
            tick,
            cluster: CLUSTER.get_or_init(cluster),
            at: self.at,
            verdicts: &[],
            figures: &FIGURES,
            freeze: None,
            opened: &[],
            transitions: &[],
        }
    }
}

fn keep(number: u128, why: KeepReason) -> NodeVerdict {
    NodeVerdict { node: node(number), name: None, group: group(), verdict: Verdict::Keep(why) }
}

fn figures(marks: u32) -> BTreeMap<GroupName, GroupFigures> {
    let figures = GroupFigures {
        counts: Some(counts(3, 1)),
        covered_since: Some(START),
        tau: Some(Span::mins(20)),
        cost: Some(BootCost {
            price: UsdPerHour(3_060_000),
            boot_cost: Usd(1_020_000),
            break_even: Span::mins(20),
        }),
        surplus: Some(NodeCount(2)),
        upcoming: NodeCount::ZERO,
        waiting: vec![],
        waiting_jobs: 0,
        headroom: NodeCount(1),
        floor: NodeCount(1),
        candidates: NodeCount(3),
        marks: NodeCount(marks),
        bound: Some(Bound::Surplus),
        wanted_back: NodeCount::ZERO,
        next_at: None,
        fit: None,
        standing: None,
        group_call_refused: false,
    };
    BTreeMap::from([(group(), figures)])
}

fn action(id: ActionId, number: u128, at: Time) -> OpenAction {
    OpenAction {
        id,
        group: group(),
        node: node(number),
        identity: Identity {
            launched: Time::from_secs(1_700_000_000),
            name: Some(format!("ip-10-0-0-{number}").parse().unwrap()),
        },
        marked_at: at,
        state: ActionState::Marked { since: at },
        terms: Terms::new(&Timing::default(), true, Span::secs(30)),
        evidence: Evidence {
            idle_since: at - Span::mins(30),
            surplus: NodeCount(2),
            tau: Span::mins(20),
            price: UsdPerHour(3_060_000),
            boot_cost: Usd(1_020_000),
            remainder: None,
        },
        policy: "cafe".parse().unwrap(),
    }
}

fn step(action: &OpenAction, at: Time, kind: EventKind, state: ActionState) -> Transition {
    Transition { action: action.id, node: action.node, event: Event { at, kind }, state }
}

/// Marks these nodes in a tick of their own.
fn mark(ledger: &SqliteLedger, world: &mut World, numbers: &[u128]) -> Vec<OpenAction> {
    let tick = world.observe(ledger, world.nodes);
    let first = ledger.reserve_actions(NodeCount::of(numbers.len())).unwrap();
    let ids = (first.0..).map(ActionId);
    let opened: Vec<OpenAction> =
        numbers.iter().zip(ids).map(|(number, id)| action(id, *number, world.at)).collect();
    let decision = Decision { opened: &opened, ..world.decision(tick) };
    ledger.record_decision(&decision).unwrap();
    opened
}

fn policy() -> ClusterPolicy {
    let group_policy = GroupPolicy {
        size: NodeCount(10),
        min_nodes: Amount::Nodes(NodeCount::ZERO),
        min_idle_nodes: NodeCount::ZERO,
        keep_windows: vec![],
        lookahead: Span::mins(1),
        budgets: Budgets {
            per_request: NodeCount(99),
            per_hour: NodeCount(99),
            per_day: NodeCount(99),
            leaving: Share::ALL,
        },
        capacity: Capacity::OnDemand,
        regain: Regain::Plentiful,
        price: Some(UsdPerHour(3_060_000)),
        boot: Some(Span::mins(10)),
        billed_after_delete: Span::ZERO,
        delay_value: Factor::ONE,
        boot_failure_cost: Usd::ZERO,
        timer: TimerChoice::BreakEven,
        queue_lookahead: Span::mins(10),
        min_age: Span::ZERO,
        post_job_grace: Span::ZERO,
        prefer: Prefer::Oldest,
        node_local_data: Some(NodeLocalData::Disposable),
        gpus_per_node: MilliGpus::whole(8),
        partitions: vec![],
        max_job_nodes: None,
        utilization: None,
        group_calls: GroupCalls::Never,
        protected: vec![],
    };
    ClusterPolicy {
        cluster: cluster(),
        evidence_source: EvidenceSource::Scheduler,
        groups: BTreeMap::from([(group(), group_policy)]),
        min_nodes: NodeCount::ZERO,
        mass_change: MassChangeLimit { nodes: NodeCount(99), share: Share::ALL },
        timing: Timing::default(),
        node_name: None,
        hash: "cafe".parse().unwrap(),
    }
}

/// A cleared request for these actions. Only the audit makes one.
fn cleared(id: RequestId, actions: &[OpenAction], now: Time) -> audit::NumberedRequest {
    unnumbered(actions, now).numbered(id)
}

/// A cleared request without an id.
fn unnumbered(actions: &[OpenAction], now: Time) -> audit::Cleared {
    offered(actions, now, &policy(), |offer| audit::clear(offer).request.unwrap().into())
}

/// Offers these actions, settled, to the audit.
fn offered<T>(
    actions: &[OpenAction],
    now: Time,
    policy: &ClusterPolicy,
    clear: impl FnOnce(audit::Offer<'_>) -> T,
) -> T {
    let nodes = actions.iter().map(|action| NodeView {
        id: action.node,
        launched: action.identity.launched,
        status: InstanceStatus::Running,
        name: action.identity.name.clone(),
        join_doubt: None,
        image: None,
        health: 100,
        protected: false,
        capacity: NodeCapacity::NotShown,
        scheduler: Reading::Fresh {
            at: now,
            value: SchedulerStatus {
                condition: Condition::Up,
                claims: vec![],
                cordon: CordonStatus::Ours { actions: action.id.into() },
            },
        },
        activity: Reading::Absent,
        described_running: false,
    });
    let view = GroupView {
        description: GroupDescription {
            role: Role::Worker,
            current: NodeCount::of(actions.len()),
            target: NodeCount::of(actions.len()),
            calm: true,
            capacity: None,
        },
        freeze: None,
        nodes: nodes.collect(),
        pending: Some(vec![]),
        offers: None,
    };
    let snapshot = Snapshot {
        cluster: cluster(),
        begun_at: now,
        taken_at: now,
        state: Some(ClusterState {
            status: ClusterStatus::InService,
            provisioning: Provisioning::Continuous,
            rival_autoscaler: false,
            software_update: false,
            created: None,
        }),
        listing: Listing::Complete,
        workload: WorkloadSource::Complete,
        groups: BTreeMap::from([(group(), view)]),
        cordons: vec![],
        refuses_large_jobs: false,
    };
    let settled = actions.iter().map(|action| {
        let state = ActionState::Settling { until: now };
        (action.node, OpenAction { state, ..action.clone() })
    });
    let history = History { actions: settled.collect(), ..History::default() };
    let offer = audit::Offer {
        group: &group(),
        gated: &|_| true,
        snapshot: &snapshot,
        policy,
        history: &history,
        now,
    };
    clear(offer)
}

/// Writes the request and the charges of these actions.
fn ask(ledger: &SqliteLedger, actions: &[OpenAction], at: Time) -> Result<RequestId, LedgerError> {
    let request = ledger.reserve_request().unwrap();
    let record = cleared(request, actions, at);
    let charges: Vec<Charge> =
        actions.iter().map(|a| Charge { at, group: group(), action: a.id }).collect();
    let kind = EventKind::Cleared { request, look_begun_at: at, scope: RequestScope::Named };
    let asking = ActionState::Asking { request, at, scope: RequestScope::Named };
    let steps: Vec<Transition> =
        actions.iter().map(|a| step(a, at, kind.clone(), asking.clone())).collect();
    let record = RequestRecord { request: &record, charges: &charges };
    ledger.record_transitions(&cluster(), &steps, Some(record))?;
    Ok(request)
}

fn answer(
    ledger: &SqliteLedger,
    action: &OpenAction,
    request: RequestId,
    at: Time,
) -> DeleteOutcome {
    let outcome = DeleteOutcome::Answered { accepted: vec![action.node], failed: vec![] };
    let asked = ActionState::Asked {
        request,
        at,
        answer: Answer::Accepted,
        absent_since: None,
        running_since: None,
        scope: RequestScope::Named,
    };
    let steps = [step(action, at, EventKind::Answered(Answer::Accepted), asked)];
    ledger.record_outcome(request, at, &outcome, &steps).unwrap();
    outcome
}

fn end(ledger: &SqliteLedger, action: &OpenAction, how: End, at: Time) {
    let state = ActionState::Ended { end: how, at };
    let steps = [step(action, at, EventKind::Deadline, state)];
    ledger.record_transitions(&cluster(), &steps, None).unwrap();
}

/// Everything in a ledger, as text.
fn dump(conn: &Connection) -> Vec<String> {
    let mut names =
        conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut lines = vec![];
    for name in names {
        let mut rows = conn.prepare(&format!("SELECT * FROM {name}")).unwrap();
        let columns = rows.column_count();
        let mut rows = rows.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<_> = (0..columns).map(|i| row.get_ref(i).unwrap()).collect();
            lines.push(format!("{name} {cells:?}"));
        }
    }
    lines
}

fn row_count(ledger: &SqliteLedger, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    ledger.db.raw().query_row(&sql, [], |row| row.get(0)).unwrap()
}

/// Compares the values that histories return. What a group state keeps beyond its horizon
/// does not matter.
fn assert_same_history(before: &History, after: &History) {
    assert_eq!(before.actions, after.actions);
    assert_eq!(before.charges, after.charges);
    assert_eq!(before.cooldowns, after.cooldowns);
    assert_eq!(before.freeze, after.freeze);
    assert_eq!(before.gone, after.gone);
    assert_eq!(before.backoff, after.backoff);
    assert_eq!(before.has_accepted, after.has_accepted);
    assert_same_groups(&before.groups, &after.groups);
}

fn assert_same_groups(
    before: &BTreeMap<GroupName, GroupState>,
    after: &BTreeMap<GroupName, GroupState>,
) {
    assert!(before.keys().eq(after.keys()));
    for (name, was) in before {
        let is = &after[name];
        assert_eq!(was.members, is.members);
        assert_eq!(was.runs, is.runs);
        assert_eq!((was.largest, was.departed), (is.largest, is.departed));
        let Some(now) = was.last_sample() else { continue };
        for minutes in (0..=24 * 60).step_by(7) {
            let tau = Span::mins(minutes);
            assert_eq!(was.surplus(tau, now), is.surplus(tau, now), "over {tau} at {now}");
        }
    }
}

struct Folder {
    dir: TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("trimtab.db")
    }

    fn open(&self) -> SqliteLedger {
        SqliteLedger::open(&self.path(), START, Durability::ProcessCrash).unwrap()
    }

    fn refusal(&self) -> OpenError {
        SqliteLedger::open(&self.path(), START, Durability::Full).err().unwrap()
    }
}

/// Copies the file as it would be after a crash of the process at this moment.
fn copy_of(path: &Path, to: &Path) {
    for ending in ["", "-wal"] {
        let from = format!("{}{ending}", path.display());
        if Path::new(&from).exists() {
            std::fs::copy(from, format!("{}{ending}", to.display())).unwrap();
        }
    }
}

/// A random number generator for tests. The same seed gives the same numbers.
fn numbers(seed: u64) -> impl FnMut(u32) -> u32 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from(state >> 33).unwrap() % below
    }
}

#[test]
fn a_window_goes_on_after_a_restart_as_if_there_had_been_none() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(12);
    let mut random = numbers(7);
    let mut idle = 6;
    // Two days, so that the oldest samples leave the horizon, and a few gaps.
    for tick in 0..1400 {
        match random(20) {
            0..8 => idle = random(12),
            8 => world.departed += u64::from(random(3)),
            9 if tick % 5 == 0 => world.at = world.at + MAX_GAP,
            _ => {}
        }
        world.observe(&ledger, idle);
        if tick % 20 == 3 {
            let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
            assert_same_groups(&world.groups, &history.groups);
            // The world continues from the loaded state.
            world.groups = history.groups;
        }
    }
}

#[test]
fn everything_is_known_again_after_the_file_was_opened_anew() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(6);
    let opened = mark(&ledger, &mut world, &[0, 1, 2]);
    let at = world.at;
    let request = ask(&ledger, &opened[..1], at).unwrap();
    answer(&ledger, &opened[0], request, at + Span::secs(1));
    end(&ledger, &opened[0], End::Gone, at + Span::secs(2));
    ledger.record_cooldown(&cluster(), node(5), at + Span::mins(30)).unwrap();
    ledger.record_cooldown(&cluster(), node(4), at - Span::mins(1)).unwrap();
    let why = FreezeReason::MassChange {
        turned: MassTurn::Idle,
        changed: NodeCount(5),
        of: NodeCount(6),
    };
    let freeze = Freeze { at, why };
    let observation = Observation {
        cluster: &cluster(),
        at,
        begun_at: at,
        ring: Ring::Deadline,
        gap: None,
        groups: &world.groups,
        freeze: Some(&freeze),
    };
    ledger.record_observation(&observation).unwrap();

    let expected = History {
        groups: world.groups.clone(),
        actions: opened[1..].iter().map(|action| (action.node, action.clone())).collect(),
        charges: vec![Charge { at, group: group(), action: opened[0].id }],
        cooldowns: BTreeMap::from([(node(5), at + Span::mins(30))]),
        freeze: Some(freeze),
        stop: None,
        gone: vec![Gone { node: node(0), group: group(), at: at + Span::secs(2) }],
        backoff: None,
        has_accepted: true,
        group_calls_refused: BTreeSet::new(),
    };
    assert_same_history(&expected, &ledger.load(&cluster(), at, MAX_GAP).unwrap());
    let id = ledger.id();
    drop(ledger);
    let ledger = folder.open();
    assert_eq!(ledger.id(), id);
    assert_same_history(&expected, &ledger.load(&cluster(), at, MAX_GAP).unwrap());
    let open = opened[1..].iter().map(|action| (cluster(), action.clone()));
    assert_eq!(ledger.reader().open_actions().unwrap(), open.collect::<Vec<_>>());

    let much_later = at + Span::hours(25);
    let history = ledger.load(&cluster(), much_later, MAX_GAP).unwrap();
    assert!(history.charges.is_empty() && history.gone.is_empty() && history.cooldowns.is_empty());
    assert_eq!(history.actions.len(), 2);
    assert!(history.freeze.is_some());
    let other = ledger.load(&"other".parse().unwrap(), at, MAX_GAP).unwrap();
    assert_same_history(&History::default(), &other);
}

#[test]
fn a_copy_knows_everything_and_changes_nothing() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(4);
    let actions = mark(&ledger, &mut world, &[1]);
    let request = ask(&ledger, &actions, world.at).unwrap();
    let before = dump(&ledger.db.raw());

    let copy = SqliteLedger::copy_of(&folder.path()).unwrap();
    assert_eq!(copy.id(), ledger.id());
    assert_same_history(
        &ledger.load(&cluster(), world.at, Span::hours(1)).unwrap(),
        &copy.load(&cluster(), world.at, Span::hours(1)).unwrap(),
    );
    answer(&copy, &actions[0], request, world.at);
    world.observe(&copy, 3);
    assert_eq!(dump(&ledger.db.raw()), before);
    assert_ne!(dump(&copy.db.raw()), before);
    let missing = SqliteLedger::copy_of(&folder.path().with_extension("none"));
    assert!(matches!(missing, Err(OpenError::Missing { .. })));
}

#[test]
fn a_process_that_dies_at_any_moment_leaves_what_it_had_committed() {
    let folder = Folder::new();
    let copy = folder.dir.path().join("copy.db");
    let ledger = folder.open();
    let mut world = World::new(4);
    let check = |ledger: &SqliteLedger, world: &World| {
        copy_of(&folder.path(), &copy);
        let found = SqliteLedger::open(&copy, START, Durability::ProcessCrash).unwrap();
        let history = |ledger: &SqliteLedger| ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
        assert_same_history(&history(ledger), &history(&found));
        drop(found);
    };
    for idle in [4, 4, 2, 3] {
        world.observe(&ledger, idle);
        check(&ledger, &world);
    }
    let opened = mark(&ledger, &mut world, &[0, 1]);
    check(&ledger, &world);
    let request = ask(&ledger, &opened[..1], world.at).unwrap();
    check(&ledger, &world);
    answer(&ledger, &opened[0], request, world.at);
    check(&ledger, &world);
    end(&ledger, &opened[1], End::Released(ReleaseReason::Demand), world.at);
    check(&ledger, &world);
}

#[test]
fn a_window_ends_when_nobody_watched_for_too_long_but_departures_are_kept() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(4);
    world.departed = 3;
    world.observe(&ledger, 4);
    world.observe(&ledger, 4);
    let state = |now| {
        let mut history = ledger.load(&cluster(), now, MAX_GAP).unwrap();
        history.groups.remove(&group()).unwrap()
    };
    assert_eq!(state(world.at + MAX_GAP).covered_since(), Some(START + TICK));
    for now in [world.at + MAX_GAP + Span(1), world.at - Span(1)] {
        let state = state(now);
        assert_eq!(state.covered_since(), None, "at {now:?}");
        assert_eq!((state.departed, state.largest), (3, NodeCount(4)));
        assert!(state.members.values().all(|member| member.idle_since.is_none()));
        assert_eq!(state.members.len(), 4);
    }
}

#[test]
fn a_window_that_ended_stays_ended() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(4);
    world.observe(&ledger, 4);
    world.at = world.at + TICK;
    world.groups.get_mut(&group()).unwrap().end_window();
    world.record(&ledger, Some("nodes unread")).unwrap();
    let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    assert_same_groups(&world.groups, &history.groups);
    assert_eq!(history.groups[&group()].covered_since(), None);
    // The next sample has the same counts as the last one before the gap.
    world.observe(&ledger, 4);
    let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    assert_same_groups(&world.groups, &history.groups);
    assert_eq!(history.groups[&group()].covered_since(), Some(world.at));
}

#[test]
fn a_tick_without_a_change_writes_one_row() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(50);
    let tick = world.observe(&ledger, 20);
    world.decide(&ledger, tick);
    let before = ledger.db.raw().total_changes();
    for _ in 0..10 {
        let tick = world.observe(&ledger, 20);
        world.decide(&ledger, tick);
    }
    let after = ledger.db.raw().total_changes();
    // The tick's row, and the end of the group's run of samples.
    assert_eq!(after - before, 20);
    assert_eq!(row_count(&ledger, "tick"), 11);
    assert_eq!(row_count(&ledger, "sample_run"), 1);
    assert_eq!(row_count(&ledger, "member"), 50);
    assert_eq!(row_count(&ledger, "verdict_span"), 50);
    // After a restart, too.
    ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    let tick = world.observe(&ledger, 20);
    world.decide(&ledger, tick);
    assert_eq!(row_count(&ledger, "verdict_span"), 50);
    assert_eq!(ledger.db.raw().total_changes() - after, 2);
}

#[test]
fn a_node_that_left_the_group_is_forgotten() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(5);
    world.observe(&ledger, 5);
    world.nodes = 3;
    world.observe(&ledger, 3);
    let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    assert_same_groups(&world.groups, &history.groups);
    assert_eq!(row_count(&ledger, "member"), 3);
}

#[test]
fn verdicts_are_spans_that_open_and_close() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(1);
    let busy = || KeepReason::Busy(Claim::Running("17".parse().unwrap()));
    let mut say = |said: &[NodeVerdict], gap: Option<&str>| {
        world.at = world.at + TICK;
        let tick = world.record(&ledger, gap).unwrap();
        let figures = figures(u32::try_from(said.len()).unwrap());
        let empty = BTreeMap::new();
        let figures = if gap.is_some() { &empty } else { &figures };
        let decision = Decision { verdicts: said, figures, ..world.decision(tick) };
        ledger.record_decision(&decision).unwrap();
        world.at
    };
    let first = say(&[keep(1, KeepReason::Protected), keep(2, busy())], None);
    say(&[keep(1, KeepReason::Protected), keep(2, busy())], None);
    let changed = say(&[keep(1, busy()), keep(2, busy())], None);
    // Without a complete listing, the verdicts stay current.
    say(&[], Some("the listing was not whole"));
    let gone = say(&[keep(1, busy())], None);

    let reader = ledger.reader();
    let explain = |number| reader.explain(&NodeQuery::Id(node(number)), 10).unwrap().unwrap();
    let spans = |number| {
        let spans = explain(number).verdicts.into_iter();
        spans.map(|span| (span.since, span.until, span.verdict)).collect::<Vec<_>>()
    };
    let one = vec![
        (changed, None, Verdict::Keep(busy())),
        (first, Some(changed), Verdict::Keep(KeepReason::Protected)),
    ];
    assert_eq!(spans(1), one);
    assert_eq!(spans(2), [(first, Some(gone), Verdict::Keep(busy()))]);
    let newest = explain(1).figures.unwrap();
    assert_eq!((newest.since, newest.until), (gone, None));
    assert_eq!(newest.figures, figures(1)[&group()]);
    assert_eq!(row_count(&ledger, "figures_span"), 2);
    assert!(reader.explain(&NodeQuery::Id(node(9)), 10).unwrap().is_none());
}

#[test]
fn the_readings_of_a_node_at_work_are_not_written_at_every_tick() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let world = World::new(1);
    for percent in [50.0, 60.0, 70.0] {
        let reading = Share::try_from_percent(percent).unwrap();
        let usage = Usage {
            utilization: reading,
            memory: reading,
            idle_below: Share::default(),
            memory_below: Share::default(),
        };
        let tick = world.record(&ledger, None).unwrap();
        let said = [keep(1, KeepReason::Active(usage))];
        ledger.record_decision(&Decision { verdicts: &said, ..world.decision(tick) }).unwrap();
    }
    assert_eq!(row_count(&ledger, "verdict_span"), 1);
}

#[test]
fn a_node_named_twice_has_one_verdict() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let world = World::new(1);
    for _ in 0..2 {
        let tick = world.record(&ledger, None).unwrap();
        let said = [keep(1, KeepReason::Protected), keep(1, KeepReason::ShuttingDown)];
        ledger.record_decision(&Decision { verdicts: &said, ..world.decision(tick) }).unwrap();
    }
    assert_eq!(row_count(&ledger, "verdict_span"), 1);
}

#[test]
fn an_action_is_charged_at_most_once() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0]);
    ask(&ledger, &opened, world.at).unwrap();
    let later = world.at + Span::hours(1);
    ask(&ledger, &opened, later).unwrap();
    let history = ledger.load(&cluster(), later, MAX_GAP).unwrap();
    assert_eq!(history.charges, [Charge { at: world.at, group: group(), action: opened[0].id }]);
}

#[test]
fn charges_count_for_a_day_to_the_instant() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0]);
    ask(&ledger, &opened, world.at).unwrap();
    let charges = |now| ledger.load(&cluster(), now, MAX_GAP).unwrap().charges.len();
    assert_eq!(charges(world.at + Span::hours(24)), 1);
    assert_eq!(charges(world.at + Span::hours(24) + Span(1)), 0);
}

#[test]
fn a_request_with_one_bad_step_is_not_written_at_all() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0, 1]);
    end(&ledger, &opened[1], End::CordonLost, world.at);
    let before = dump(&ledger.db.raw());
    let why = ask(&ledger, &opened, world.at).unwrap_err().to_string();
    assert!(why.contains("is not open"), "{why}");
    let mut after = dump(&ledger.db.raw());
    // Only the reserved id remains.
    after.retain(|line| !line.starts_with("meta"));
    assert!(after.iter().all(|line| before.contains(line)));
    assert_eq!(after.len() + 1, before.len());
}

#[test]
fn a_node_has_at_most_one_open_action() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0]);
    let tick = world.observe(&ledger, 3);
    let id = ledger.reserve_actions(NodeCount(1)).unwrap();
    let second = [action(id, 0, world.at)];
    let decision = Decision { opened: &second, ..world.decision(tick) };
    assert!(ledger.record_decision(&decision).is_err());
    end(&ledger, &opened[0], End::Released(ReleaseReason::Floor), world.at);
    ledger.record_decision(&decision).unwrap();
}

#[test]
fn a_decision_about_a_tick_that_was_not_written_is_refused() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let world = World::new(3);
    let why = ledger.record_decision(&world.decision(TickId(5))).unwrap_err();
    assert!(why.to_string().contains("no tick 5"), "{why}");
}

#[test]
fn ids_are_never_given_twice() {
    let folder = Folder::new();
    let ledger = folder.open();
    assert_eq!(ledger.reserve_actions(NodeCount(3)).unwrap(), ActionId(1));
    assert_eq!(ledger.reserve_actions(NodeCount(1)).unwrap(), ActionId(4));
    assert_eq!(ledger.reserve_request().unwrap(), RequestId(1));
    drop(ledger);
    let ledger = folder.open();
    assert_eq!(ledger.reserve_actions(NodeCount(1)).unwrap(), ActionId(5));
    assert_eq!(ledger.reserve_request().unwrap(), RequestId(2));
}

#[test]
fn an_outcome_may_be_repeated_but_not_changed() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0]);
    let request = ask(&ledger, &opened, world.at).unwrap();
    answer(&ledger, &opened[0], request, world.at);
    let before = dump(&ledger.db.raw());
    let outcome = answer(&ledger, &opened[0], request, world.at + TICK);
    assert_eq!(dump(&ledger.db.raw()), before);
    let other = DeleteOutcome::NoAnswer { why: "timeout".into() };
    ledger.record_outcome(request, world.at, &other, &[]).unwrap_err();
    ledger.record_outcome(RequestId(99), world.at, &outcome, &[]).unwrap_err();
    assert_eq!(dump(&ledger.db.raw()), before);
}

#[test]
fn what_was_done_cannot_be_rewritten() {
    let ledger = SqliteLedger::in_memory(START).unwrap();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0]);
    let request = ask(&ledger, &opened, world.at).unwrap();
    answer(&ledger, &opened[0], request, world.at);
    end(&ledger, &opened[0], End::Gone, world.at);
    let entry = SwitchEntry { at: world.at, cluster: None, switch: Switch::On };
    ledger.operator().set_switch(&entry, "ada").unwrap();
    let conn = ledger.db.raw();
    let before = dump(&conn);
    for sql in [
        "UPDATE action_event SET at = 0",
        "DELETE FROM action_event",
        "UPDATE charge SET at = 0",
        "DELETE FROM charge",
        "UPDATE switch SET paused = 1",
        "DELETE FROM switch",
        "UPDATE request SET outcome = NULL",
        "DELETE FROM request",
        "UPDATE action SET ended_at = NULL",
        "DELETE FROM action",
    ] {
        assert!(conn.execute(sql, []).is_err(), "{sql}");
    }
    assert_eq!(dump(&conn), before);
}

#[test]
fn a_full_disk_is_an_error_and_the_ledger_works_again_afterwards() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(200);
    let tick = world.observe(&ledger, 0);
    world.decide(&ledger, tick);
    let before = dump(&ledger.db.raw());
    let pages: i64 =
        ledger.db.raw().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    let limit = |pages: i64| {
        ledger.db.raw().pragma_update(None, "max_page_count", pages).unwrap();
    };
    limit(pages);
    world.at = world.at + TICK;
    world.nodes = 2000;
    world.fold(2000);
    let why = world.record(&ledger, None).unwrap_err().to_string();
    assert!(why.contains("full") && why.contains("free space"), "{why}");
    assert_eq!(dump(&ledger.db.raw()), before);
    assert_eq!(ledger.read_switch(&cluster()).unwrap(), Switch::On);

    limit(1_000_000);
    let tick = world.record(&ledger, None).unwrap();
    world.decide(&ledger, tick);
    let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    assert_same_groups(&world.groups, &history.groups);
    assert_eq!(row_count(&ledger, "member"), 2000);
}

#[test]
fn a_read_only_file_is_an_error_that_says_what_to_do() {
    let folder = Folder::new();
    let ledger = folder.open();
    let world = World::new(3);
    ledger.db.raw().pragma_update(None, "query_only", true).unwrap();
    let why = world.record(&ledger, None).unwrap_err().to_string();
    assert!(why.contains("read-only") && why.contains(&*folder.path().to_string_lossy()), "{why}");
    assert!(ledger.reserve_request().is_err());
    ledger.db.raw().pragma_update(None, "query_only", false).unwrap();
    world.record(&ledger, None).unwrap();
}

#[test]
fn a_file_that_another_process_keeps_locked_is_an_error_that_says_so() {
    let folder = Folder::new();
    let ledger = folder.open();
    let world = World::new(3);
    ledger.db.raw().busy_timeout(std::time::Duration::ZERO).unwrap();
    let other = Connection::open(folder.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let why = world.record(&ledger, None).unwrap_err().to_string();
    assert!(why.contains("another process keeps it locked"), "{why}");
    // Reads still work, above all those of the switch.
    assert_eq!(ledger.read_switch(&cluster()).unwrap(), Switch::On);
    other.execute_batch("ROLLBACK").unwrap();
    world.record(&ledger, None).unwrap();
}

#[test]
fn a_row_that_makes_no_sense_is_an_error_that_names_it() {
    for (sql, said) in [
        ("UPDATE action SET state = '{}'", "table action, row 1, column state"),
        ("UPDATE action SET node = 'x'", "table action, row 1, column node"),
        ("UPDATE member SET class = 'lazy'", "column class: `lazy` is not a class"),
        ("UPDATE member SET node = 'i-1'", "table member, row i-1, column node"),
        ("UPDATE sample_run SET busy = -1", "table sample_run, row 1, column busy"),
        ("UPDATE group_state SET departed = -1", "table group_state, row 1, column departed"),
        ("UPDATE verdict_span SET verdict = '?'", "table verdict_span, row 1, column verdict"),
    ] {
        let ledger = SqliteLedger::in_memory(START).unwrap();
        let mut world = World::new(1);
        mark(&ledger, &mut world, &[0]);
        let tick = world.observe(&ledger, 1);
        world.decide(&ledger, tick);
        ledger.db.raw().execute(sql, []).unwrap();
        let why = ledger.load(&cluster(), world.at, MAX_GAP).unwrap_err().to_string();
        assert!(why.contains(said) && why.contains("restore a backup"), "{sql}: {why}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_told_who_the_first_one_is() {
    let folder = Folder::new();
    let ledger = folder.open();
    let why = folder.refusal().to_string();
    assert!(why.contains(&format!("pid {}", std::process::id())), "{why}");
    assert!(why.contains(&format!("since {START}")), "{why}");
    drop(ledger);
    folder.open();
}

#[test]
fn a_ledger_is_locked_until_its_last_handle_is_gone() {
    let folder = Folder::new();
    let reader = folder.open().reader();
    assert!(matches!(folder.refusal(), OpenError::Held { .. }));
    drop(reader);
    folder.open();
}

#[test]
fn a_newer_schema_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    drop(folder.open());
    let conn = Connection::open(folder.path()).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    drop(conn);
    let before = std::fs::read(folder.path()).unwrap();
    let why = folder.refusal().to_string();
    assert!(why.contains("schema 99") && why.contains("run the newer trimtab"), "{why}");
    let reader = SqliteLedger::open_reader(&folder.path()).err().unwrap();
    assert!(matches!(reader, OpenError::NewerSchema { found: 99, .. }));
    assert_eq!(std::fs::read(folder.path()).unwrap(), before);
}

#[test]
fn a_ledger_of_an_early_build_is_refused_and_left_as_it_is() {
    for version in 1..schema::VERSION {
        let folder = Folder::new();
        drop(folder.open());
        let conn = Connection::open(folder.path()).unwrap();
        // As the early builds named it.
        conn.execute_batch("ALTER TABLE request RENAME TO batch").unwrap();
        conn.pragma_update(None, "user_version", version).unwrap();
        drop(conn);
        let before = std::fs::read(folder.path()).unwrap();
        let wanted = format!(
            "ledger {} was written by an early build (schema {version}) that this one cannot \
             read: run that build until `history` shows no open action, resume the nodes that it \
             left drained, then move the file away; trimtab creates a new one, without the \
             pause, the freezes and the charges of the old one",
            folder.path().canonicalize().unwrap().display()
        );
        for why in [
            folder.refusal(),
            SqliteLedger::copy_of(&folder.path()).err().unwrap(),
            SqliteLedger::open_reader(&folder.path()).err().unwrap(),
            SqliteLedger::open_operator(&folder.path()).err().unwrap(),
        ] {
            assert_eq!(why.to_string(), wanted);
        }
        assert_eq!(std::fs::read(folder.path()).unwrap(), before);
        std::fs::rename(folder.path(), folder.dir.path().join("early.db")).unwrap();
        drop(folder.open());
        SqliteLedger::open_reader(&folder.path()).unwrap();
    }
}

#[test]
fn files_of_other_programs_are_refused_and_left_as_they_are() {
    let folder = Folder::new();
    let check = |content: &[u8]| {
        std::fs::write(folder.path(), content).unwrap();
        let why = folder.refusal();
        assert!(matches!(why, OpenError::NotALedger { .. }), "{why}");
        assert_eq!(std::fs::read(folder.path()).unwrap(), content);
    };
    check(b"mode = \"observe\"\n");
    check(&[b'x'; 10_000]);
    std::fs::remove_file(folder.path()).unwrap();
    let conn = Connection::open(folder.path()).unwrap();
    conn.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(conn);
    let content = std::fs::read(folder.path()).unwrap();
    check(&content);
}

#[test]
fn a_damaged_file_is_refused() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(500);
    let tick = world.observe(&ledger, 10);
    world.decide(&ledger, tick);
    drop(ledger);
    let whole = std::fs::read(folder.path()).unwrap();
    let mut scribbled = whole.clone();
    for byte in &mut scribbled[20_000..60_000] {
        *byte = 0xa5;
    }
    for content in [&whole[..whole.len() / 2], &scribbled] {
        std::fs::write(folder.path(), content).unwrap();
        let why = folder.refusal();
        assert!(matches!(why, OpenError::Damaged { .. }), "{why}");
        assert!(why.to_string().contains(".recover"), "{why}");
    }
}

#[test]
fn a_place_that_cannot_hold_a_ledger_is_refused() {
    let folder = Folder::new();
    let nowhere = folder.dir.path().join("missing").join("trimtab.db");
    let why = SqliteLedger::open(&nowhere, START, Durability::Full).err().unwrap().to_string();
    assert!(why.contains("directory must exist"), "{why}");
    let why = SqliteLedger::open(folder.dir.path(), START, Durability::Full).err().unwrap();
    assert!(matches!(why, OpenError::Unusable { .. }), "{why}");
    for why in [
        SqliteLedger::open_reader(&folder.path()).err().unwrap(),
        SqliteLedger::open_operator(&folder.path()).err().unwrap(),
    ] {
        assert!(matches!(why, OpenError::Missing { .. }), "{why}");
    }
    assert!(!folder.path().exists());
}

#[test]
fn the_product_waits_for_the_disk() {
    let folder = Folder::new();
    let synchronous = |ledger: &SqliteLedger| -> i64 {
        ledger.db.raw().pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
    };
    let ledger = SqliteLedger::open(&folder.path(), START, Durability::Full).unwrap();
    assert_eq!(synchronous(&ledger), 2);
    for (pragma, value) in [("foreign_keys", 1), ("trusted_schema", 0)] {
        let found: i64 =
            ledger.db.raw().pragma_query_value(None, pragma, |row| row.get(0)).unwrap();
        assert_eq!(found, value, "{pragma}");
    }
    let mode: String =
        ledger.db.raw().pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    drop(ledger);
    assert_eq!(synchronous(&folder.open()), 0);
}

#[test]
fn every_file_has_an_id_of_its_own_and_one_seed_has_one_id() {
    let (one, other) = (Folder::new(), Folder::new());
    assert_ne!(one.open().id(), other.open().id());
    let seeded = |seed| {
        let folder = Folder::new();
        SqliteLedger::open_seeded(&folder.path(), START, Durability::ProcessCrash, seed)
            .unwrap()
            .id()
    };
    assert_eq!(seeded(1), seeded(1));
    assert_ne!(seeded(1), seeded(2));
    let id = seeded(1).to_string();
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
}

#[test]
fn one_story_makes_one_ledger() {
    let tell = || {
        let ledger = SqliteLedger::in_memory(START).unwrap();
        let mut world = World::new(8);
        let mut random = numbers(3);
        for _ in 0..50 {
            let tick = world.observe(&ledger, random(8));
            world.decide(&ledger, tick);
        }
        let opened = mark(&ledger, &mut world, &[1, 2]);
        ask(&ledger, &opened, world.at).unwrap();
        dump(&ledger.db.raw())
    };
    assert_eq!(tell(), tell());
}

#[test]
fn a_running_daemon_sees_what_an_operator_sets() {
    let folder = Folder::new();
    let ledger = folder.open();
    let operator = SqliteLedger::open_operator(&folder.path()).unwrap();
    let set = |cluster: Option<ClusterName>, switch: Switch| {
        operator.set_switch(&SwitchEntry { at: START, cluster, switch }, "ada").unwrap();
    };
    let paused = || match ledger.read_switch(&cluster()).unwrap() {
        Switch::On => None,
        Switch::Paused { why } => Some(why.to_string()),
    };
    assert_eq!(paused(), None);
    set(Some("other".parse().unwrap()), Switch::Paused { why: "not ours".into() });
    assert_eq!(paused(), None);
    set(Some(cluster()), Switch::Paused { why: "maintenance".into() });
    let why = paused().unwrap();
    assert_eq!(why, format!("maintenance (this cluster, by ada at {START})"));
    // Resuming all clusters does not resume one that was paused by its own switch.
    set(None, Switch::Paused { why: "fire".into() });
    set(None, Switch::On);
    assert_eq!(paused(), Some(why));
    set(Some(cluster()), Switch::On);
    assert_eq!(paused(), None);
    assert_eq!(operator.reader().switches(2).unwrap().len(), 2);
    assert_eq!(ledger.reader().switches(9).unwrap().len(), 5);
}

#[test]
fn a_freeze_that_is_ended_while_nobody_runs_ends_the_windows_before_it() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(3);
    let tick = world.observe(&ledger, 3);
    let why = FreezeReason::MassChange {
        turned: MassTurn::Idle,
        changed: NodeCount(3),
        of: NodeCount(3),
    };
    let freeze = Freeze { at: world.at, why };
    let decision = Decision { freeze: Some(&freeze), ..world.decision(tick) };
    ledger.record_decision(&decision).unwrap();
    world.observe(&ledger, 3);
    let soon = world.at + Span::secs(30);
    let watched = |ledger: &SqliteLedger| {
        let history = ledger.load(&cluster(), soon, MAX_GAP).unwrap();
        history.groups[&group()].covered_since()
    };
    assert!(watched(&ledger).is_some());
    let operator = SqliteLedger::open_operator(&folder.path()).unwrap();
    assert!(operator.clear_freeze(&cluster(), "ada", soon).unwrap());
    assert_eq!(watched(&ledger), None);
    world.at = soon;
    world.observe(&ledger, 3);
    let history = ledger.load(&cluster(), world.at, MAX_GAP).unwrap();
    assert!(history.groups[&group()].covered_since().is_some(), "what came after it counts");
}

#[test]
fn a_freeze_lasts_until_an_operator_ends_it() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(3);
    let tick = world.observe(&ledger, 3);
    let why = FreezeReason::MassChange {
        turned: MassTurn::Marked,
        changed: NodeCount(3),
        of: NodeCount(3),
    };
    let freeze = Freeze { at: world.at, why };
    let decision = Decision { freeze: Some(&freeze), ..world.decision(tick) };
    ledger.record_decision(&decision).unwrap();
    let now = world.at + Span::hours(100);
    let in_force = || ledger.load(&cluster(), now, MAX_GAP).unwrap().freeze;
    assert_eq!(in_force(), Some(freeze.clone()));
    assert!(!ledger.freeze_cleared(&cluster(), freeze.at).unwrap());

    let operator = SqliteLedger::open_operator(&folder.path()).unwrap();
    assert!(operator.clear_freeze(&cluster(), "ada", now).unwrap());
    assert!(!operator.clear_freeze(&cluster(), "bob", now).unwrap());
    assert!(ledger.freeze_cleared(&cluster(), freeze.at).unwrap());
    assert!(!ledger.freeze_cleared(&cluster(), freeze.at + Span(1)).unwrap());
    assert_eq!(in_force(), None);
    let rows = ledger.reader().freezes(None).unwrap();
    assert_eq!(rows[0].cleared, Some(Cleared { at: now, by: "ada".into() }));
}

#[test]
fn people_read_beside_a_running_daemon_what_was_done_and_why() {
    let folder = Folder::new();
    let ledger = folder.open();
    let mut world = World::new(3);
    let opened = mark(&ledger, &mut world, &[0, 1]);
    let at = world.at;
    let tick = world.observe(&ledger, 3);
    world.decide(&ledger, tick);
    let request = ask(&ledger, &opened[..1], at).unwrap();
    let outcome = answer(&ledger, &opened[0], request, at + Span::secs(1));
    end(&ledger, &opened[0], End::Gone, at + Span::mins(4));
    end(&ledger, &opened[1], End::Released(ReleaseReason::Demand), at + Span::mins(5));

    let reader = SqliteLedger::open_reader(&folder.path()).unwrap();
    assert_eq!(reader.id(), ledger.id());
    let rows = reader.history(10, Some(&cluster())).unwrap();
    let ids: Vec<u64> = rows.iter().map(|row| row.action.id.0).collect();
    assert_eq!(ids, [2, 1]);
    assert_eq!(reader.history(1, None).unwrap(), rows[..1]);
    assert!(reader.history(10, Some(&"other".parse().unwrap())).unwrap().is_empty());
    let row = &rows[1];
    assert_eq!(row.cluster, cluster());
    assert_eq!(row.events.len(), 3);
    assert_eq!(row.events.last().map(|event| &event.state), Some(&row.action.state));
    assert_eq!((row.charged_at, row.ended_at), (Some(at), Some(at + Span::mins(4))));
    let record = row.request.as_ref().unwrap();
    assert_eq!((record.request, &record.nodes), (request, &vec![node(0)]));
    assert_eq!(record.outcome, Some(outcome));
    assert_eq!((rows[0].charged_at, &rows[0].request), (None, &None));

    let by_id = reader.explain(&"i-00000000000000000".parse().unwrap(), 5).unwrap().unwrap();
    let by_name = reader.explain(&"ip-10-0-0-0".parse().unwrap(), 5).unwrap().unwrap();
    assert_eq!(by_id, by_name);
    assert_eq!((by_id.node, &by_id.cluster, &by_id.group), (node(0), &cluster(), &group()));
    assert_eq!(by_id.actions, rows[1..]);
    assert_eq!(by_id.verdicts.len(), 1);
    assert!(reader.explain(&"ip-10-9-9-9".parse().unwrap(), 5).unwrap().is_none());

    let ticks = reader.ticks(10, None).unwrap();
    assert_eq!(ticks.len(), 2);
    assert_eq!((ticks[0].id, ticks[0].at, ticks[0].ring), (tick, world.at, Ring::Schedule));
}

#[test]
fn a_reader_cannot_write() {
    let folder = Folder::new();
    drop(folder.open());
    let db = Database::attach(&folder.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    assert!(db.raw().execute("DELETE FROM tick", []).is_err());
}

#[test]
fn the_lease_is_lost_with_the_lock_file() {
    let folder = Folder::new();
    let ledger = folder.open();
    let lease = ledger.lease();
    assert!(matches!(crate::ports::Lease::hold(&lease), Ok(1)));
    let mut lock = folder.path().into_os_string();
    lock.push(".lock");
    std::fs::remove_file(&lock).unwrap();
    assert!(crate::ports::Lease::hold(&lease).is_err(), "no file");
    std::fs::write(&lock, "somebody else").unwrap();
    assert!(crate::ports::Lease::hold(&lease).is_err(), "another file");
}
