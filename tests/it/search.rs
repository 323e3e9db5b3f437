//! An exhaustive search over `core::action`: two nodes, and at every
//! point a job that lands or ends, an operator who resumes or drains, reads that
//! fail or lag, every way a delete call can end, time that passes, and a crash
//! between a commit and its effects. Calls for the whole group leave one of the
//! two, which one is picked at any moment after the call, and the real
//! `core::group_call` says when it is over.
//!
//! Times are kept relative to now, so the states are finitely many, and the
//! search runs until nothing new is reached.

use std::collections::{HashMap, HashSet, VecDeque};

use trimtab_core::action::{
    ActionState, Answer, Effect, End, Event, EventKind, Look, NodeSeen, OwnCordon, ReleaseReason,
    RequestScope, Terms, Work, step,
};
use trimtab_core::group_call;
use trimtab_core::history::{History, OpenAction};
use trimtab_core::ids::{ActionId, GroupName, InstanceId, RequestId};
use trimtab_core::plan::Evidence;
use trimtab_core::snapshot::{
    Claim, ClusterState, ClusterStatus, GroupDescription, GroupView, Identity, InstanceStatus,
    Listing, NodeCapacity, NodeView, Provisioning, Reading, Role, Snapshot, WorkloadSource,
};
use trimtab_core::units::{NodeCount, Span, Time, Usd, UsdPerHour};
use trimtab_tests::scale;
use trimtab_tests::worlds::name;

/// How many happenings deep the search goes from the start: deeper than there
/// is anything new (a test demands that).
const DEPTH: u32 = 60;
/// Steps of a run that is scaled down: far enough for a deletion to end.
const DEPTH_OF_A_SHORT_RUN: u32 = 7;

const NOW: Time = Time(0);
/// Before anything else that happens.
const LAUNCHED: Time = Time(2 * OLDEST);
const UNIT: Span = Span::mins(1);
const OLDEST: i64 = -4 * UNIT.0;

const TERMS: Terms = Terms {
    cordoned: true,
    settle: UNIT,
    cordon_timeout: Span::mins(2),
    settling_timeout: Span::mins(2),
    confirm_running: Span::mins(2),
    overdue: Span::mins(3),
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cordon {
    Clear,
    Ours,
    Operator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Instance {
    Running,
    /// The API accepted its deletion; it can end at any moment.
    Doomed,
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    action: Option<ActionState>,
    cordon: Cordon,
    job: bool,
    instance: Instance,
    /// An operator took our cordon away after our last look, or during the
    /// deletion: what lands then nobody could have seen before the call.
    taken_over: bool,
    /// A call for the group was accepted, and it is not picked yet who goes.
    may_be_picked: bool,
}

type World = [Node; 2];

/// The rules a state machine under test may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Breach {
    /// A node ended with a job on it.
    JobLost,
    /// A node that is being deleted was released to the scheduler.
    ReleasedWhileDeleting,
}

/// A state machine: the real one, or one with a planted bug.
type Step = fn(&Terms, ActionState, &Event) -> (ActionState, Vec<Effect>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// The truth.
    True,
    /// The listing still shows how it was before.
    Lagging,
    /// The scheduler does not answer.
    NoScheduler,
    /// The listing is not whole.
    NoListing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    No,
    /// After the commit, before any effect.
    BeforeEffects,
    /// After the first effect of several.
    AfterFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Accepted,
    FirstFailed,
    Refused,
    NoAnswerButActed,
    NoAnswer,
    CrashUnsent,
    CrashAfterActed,
    /// By a count, where both nodes could go.
    CountAccepted,
    CountRefused,
    CountNoAnswerButActed,
    CountNoAnswer,
    CountCrashAfterActed,
}

#[derive(Debug, Clone, Copy)]
enum Happening {
    JobLands(usize),
    JobEnds(usize),
    OperatorResumes(usize),
    OperatorDrains(usize),
    Terminates(usize),
    /// Of two that may be picked, this one is.
    Picked(usize),
    Marked(usize),
    Paused,
    Restart,
    TimePasses,
    Tick(Read, Crash, Reply),
}

fn happenings() -> Vec<Happening> {
    let mut all = vec![Happening::Paused, Happening::Restart, Happening::TimePasses];
    for i in 0..2 {
        all.extend([
            Happening::JobLands(i),
            Happening::JobEnds(i),
            Happening::OperatorResumes(i),
            Happening::OperatorDrains(i),
            Happening::Terminates(i),
            Happening::Picked(i),
            Happening::Marked(i),
        ]);
    }
    for crash in [Crash::BeforeEffects, Crash::AfterFirst] {
        all.push(Happening::Tick(Read::True, crash, Reply::Accepted));
    }
    for read in [Read::Lagging, Read::NoScheduler, Read::NoListing] {
        all.push(Happening::Tick(read, Crash::No, Reply::Accepted));
    }
    for reply in [
        Reply::Accepted,
        Reply::FirstFailed,
        Reply::Refused,
        Reply::NoAnswerButActed,
        Reply::NoAnswer,
        Reply::CrashUnsent,
        Reply::CrashAfterActed,
        Reply::CountAccepted,
        Reply::CountRefused,
        Reply::CountNoAnswerButActed,
        Reply::CountNoAnswer,
        Reply::CountCrashAfterActed,
    ] {
        all.push(Happening::Tick(Read::True, Crash::No, reply));
    }
    all
}

/// The model of the driver around the state machine.
struct Model {
    step: Step,
}

impl Model {
    fn one(&self, node: &mut Node, kind: EventKind) -> Vec<Effect> {
        let Some(state) = node.action.take() else { return vec![] };
        let (state, effects) = (self.step)(&TERMS, state, &Event { at: NOW, kind });
        node.action = (!matches!(state, ActionState::Ended { .. })).then_some(state);
        effects
    }

    fn run(&self, node: &mut Node, effects: &[Effect]) -> Result<(), Breach> {
        for effect in effects {
            match effect {
                Effect::Cordon
                    if node.cordon == Cordon::Clear && node.instance != Instance::Gone =>
                {
                    node.cordon = Cordon::Ours;
                }
                Effect::Release if node.cordon == Cordon::Ours => {
                    if node.instance == Instance::Doomed || node.may_be_picked {
                        return Err(Breach::ReleasedWhileDeleting);
                    }
                    node.cordon = Cordon::Clear;
                }
                Effect::Cordon | Effect::Release | Effect::Delete(_) | Effect::Notify(_) => {}
            }
        }
        Ok(())
    }

    fn restart(&self, world: &mut World) -> Result<(), Breach> {
        for node in world {
            let effects = self.one(node, EventKind::Started);
            self.run(node, &effects)?;
        }
        Ok(())
    }

    fn look(node: &Node, read: Read) -> Look {
        let cordon = match (read, node.cordon) {
            (Read::NoScheduler, _) => OwnCordon::Unread,
            (_, Cordon::Clear) => OwnCordon::Clear,
            (_, Cordon::Ours) => OwnCordon::Ours,
            (_, Cordon::Operator) => OwnCordon::NotOurs,
        };
        let work = match (read, node.job) {
            (Read::NoScheduler, _) => Work::Unread,
            (_, true) => Work::Claimed(Claim::Running(name("1"))),
            (_, false) => Work::None,
        };
        let present = |status| NodeSeen::Present {
            status,
            cordon,
            work: work.clone(),
            described_running: node.instance == Instance::Running,
        };
        let seen_node = match (read, node.instance) {
            (Read::NoListing, _) => NodeSeen::Unread,
            (_, Instance::Running) | (Read::Lagging, _) => present(InstanceStatus::Running),
            (_, Instance::Doomed) => present(InstanceStatus::ShuttingDown),
            (_, Instance::Gone) => NodeSeen::Absent { cordon },
        };
        Look { begun_at: NOW, seen_node }
    }

    fn tick(
        &self,
        world: &mut World,
        read: Read,
        crash: Crash,
        reply: Reply,
    ) -> Result<(), Breach> {
        let looks = [Self::look(&world[0], read), Self::look(&world[1], read)];
        let mut effects = vec![];
        for (node, look) in world.iter_mut().zip(&looks) {
            let mut of_node = self.one(node, EventKind::Look(look.clone()));
            of_node.extend(self.one(node, EventKind::Deadline));
            // Once the deletion is under way, seeing it changes nothing.
            let readable = read != Read::NoScheduler && read != Read::NoListing;
            if readable && node.instance == Instance::Running && !node.may_be_picked {
                node.taken_over = false;
            }
            effects.push(of_node);
        }
        for (i, (node, of_node)) in world.iter_mut().zip(&effects).enumerate() {
            if crash == Crash::No || (crash == Crash::AfterFirst && i == 0) {
                self.run(node, of_node)?;
            }
        }
        if crash != Crash::No {
            return self.restart(world);
        }
        if read == Read::True {
            self.end_calls(world, &looks)?;
        }
        if read == Read::True || read == Read::Lagging {
            self.sweep(world)?;
        }
        self.delete(world, &looks, reply)
    }

    /// Calls for the group that are over by its counts, as the driver does.
    fn end_calls(&self, world: &mut World, looks: &[Look; 2]) -> Result<(), Breach> {
        for (node, why) in calls_over(world) {
            let mut effects = self.one(&mut world[node], EventKind::GroupRequestOver(why));
            effects.extend(self.one(&mut world[node], EventKind::Look(looks[node].clone())));
            self.run(&mut world[node], &effects)?;
        }
        Ok(())
    }

    /// Our cordons without an action are taken off, as the driver does; a name
    /// without an instance is left alone.
    fn sweep(&self, world: &mut World) -> Result<(), Breach> {
        for node in world {
            let stray = node.action.is_none() && node.cordon == Cordon::Ours;
            if stray && node.instance != Instance::Gone {
                self.run(node, &[Effect::Release])?;
            }
        }
        Ok(())
    }

    /// The audit clears what this very look saw cordoned, clean and Running.
    fn delete(&self, world: &mut World, looks: &[Look; 2], reply: Reply) -> Result<(), Breach> {
        let request = RequestId(1);
        let clean = |look: &Look| {
            matches!(
                &look.seen_node,
                NodeSeen::Present {
                    status: InstanceStatus::Running,
                    cordon: OwnCordon::Ours,
                    work: Work::None,
                    ..
                }
            )
        };
        let scope = match reply {
            Reply::CountAccepted
            | Reply::CountRefused
            | Reply::CountNoAnswerButActed
            | Reply::CountNoAnswer
            | Reply::CountCrashAfterActed => RequestScope::Group { after: NodeCount(1) },
            Reply::Accepted
            | Reply::FirstFailed
            | Reply::Refused
            | Reply::NoAnswerButActed
            | Reply::NoAnswer
            | Reply::CrashUnsent
            | Reply::CrashAfterActed => RequestScope::Named,
        };
        let both = (0..2).all(|i| {
            matches!(world[i].action, Some(ActionState::Settling { .. })) && clean(&looks[i])
        });
        if scope != RequestScope::Named && !both {
            return Ok(());
        }
        let mut asked = vec![];
        for (i, look) in looks.iter().enumerate() {
            let settling = matches!(world[i].action, Some(ActionState::Settling { .. }));
            if settling && clean(look) {
                let cleared = EventKind::Cleared { request, look_begun_at: NOW, scope };
                if self.one(&mut world[i], cleared).contains(&Effect::Delete(request)) {
                    asked.push(i);
                }
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let first = asked[0];
        // The settle time may be over for one of them only: the audit asks both.
        if scope != RequestScope::Named && asked.len() < 2 {
            for i in asked {
                self.one(&mut world[i], EventKind::Answered(Answer::Refused { why: "".into() }));
            }
            return Ok(());
        }
        for i in asked {
            let node = &mut world[i];
            let (acted, answer) = match reply {
                Reply::Accepted => (true, Some(Answer::Accepted)),
                Reply::FirstFailed if i == first => {
                    (false, Some(Answer::Failed { code: "NodeIdInUse".into() }))
                }
                Reply::FirstFailed => (true, Some(Answer::Accepted)),
                Reply::Refused => (false, Some(Answer::Refused { why: "busy".into() })),
                Reply::NoAnswerButActed => (true, Some(Answer::NoAnswer)),
                Reply::NoAnswer => (false, Some(Answer::NoAnswer)),
                Reply::CrashUnsent => (false, None),
                Reply::CrashAfterActed => (true, None),
                Reply::CountAccepted => (true, Some(Answer::Accepted)),
                Reply::CountRefused => (false, Some(Answer::Refused { why: "busy".into() })),
                Reply::CountNoAnswerButActed => (true, Some(Answer::NoAnswer)),
                Reply::CountNoAnswer => (false, Some(Answer::NoAnswer)),
                Reply::CountCrashAfterActed => (true, None),
            };
            if acted && node.instance == Instance::Running {
                match scope {
                    RequestScope::Named => node.instance = Instance::Doomed,
                    RequestScope::Group { .. } => node.may_be_picked = true,
                }
            }
            if let Some(answer) = answer {
                self.one(node, EventKind::Answered(answer));
            }
        }
        match reply {
            Reply::CrashUnsent | Reply::CrashAfterActed | Reply::CountCrashAfterActed => {
                self.restart(world)
            }
            Reply::Accepted
            | Reply::FirstFailed
            | Reply::Refused
            | Reply::NoAnswerButActed
            | Reply::NoAnswer
            | Reply::CountAccepted
            | Reply::CountRefused
            | Reply::CountNoAnswerButActed
            | Reply::CountNoAnswer => Ok(()),
        }
    }

    /// The world after a happening; `None` if it cannot happen here.
    fn after(&self, world: &World, happening: Happening) -> Result<Option<World>, Breach> {
        let mut next = world.clone();
        match happening {
            Happening::JobLands(i) => {
                let node = &mut next[i];
                let takes = node.cordon == Cordon::Clear && node.instance != Instance::Gone;
                if !takes || node.job {
                    return Ok(None);
                }
                node.job = true;
            }
            Happening::JobEnds(i) => next[i].job = false,
            Happening::OperatorResumes(i) => {
                next[i].taken_over |= next[i].cordon == Cordon::Ours;
                next[i].cordon = Cordon::Clear;
            }
            Happening::OperatorDrains(i) => {
                next[i].taken_over |= next[i].cordon == Cordon::Ours;
                next[i].cordon = Cordon::Operator;
            }
            Happening::Terminates(i) => {
                let node = &mut next[i];
                if node.instance != Instance::Doomed {
                    return Ok(None);
                }
                // An operator who resumes a node while it is being deleted takes
                // the risk; we never do.
                if node.job && !node.taken_over {
                    return Err(Breach::JobLost);
                }
                node.instance = Instance::Gone;
                node.job = false;
            }
            Happening::Picked(i) => {
                if !next[i].may_be_picked {
                    return Ok(None);
                }
                next[i].instance = Instance::Doomed;
                for node in &mut next {
                    node.may_be_picked = false;
                }
            }
            Happening::Marked(i) => {
                let node = &mut next[i];
                // Nothing is marked in a group while a call for it is open.
                let free = node.cordon == Cordon::Clear && !node.job && !node.may_be_picked;
                if node.action.is_some() || !free || node.instance != Instance::Running {
                    return Ok(None);
                }
                node.action = Some(ActionState::Marked { since: NOW });
            }
            Happening::Paused => {
                for node in &mut next {
                    let effects = self.one(node, EventKind::Paused);
                    self.run(node, &effects)?;
                }
            }
            Happening::Restart => self.restart(&mut next)?,
            Happening::TimePasses => {
                for node in &mut next {
                    node.action = node.action.take().map(grow_older);
                }
            }
            Happening::Tick(read, crash, reply) => self.tick(&mut next, read, crash, reply)?,
        }
        Ok((next != *world).then_some(next))
    }

    /// Every world within reach, or the first breach with the way there.
    fn search(&self, depth: u32) -> Result<HashSet<World>, (Breach, Vec<Happening>)> {
        let fresh = Node {
            action: None,
            cordon: Cordon::Clear,
            job: false,
            instance: Instance::Running,
            taken_over: false,
            may_be_picked: false,
        };
        let start = [fresh.clone(), fresh];
        let all = happenings();
        let mut came_from: HashMap<World, Option<(World, Happening)>> = HashMap::new();
        let mut queue = VecDeque::from([(start.clone(), 0)]);
        came_from.insert(start, None);
        while let Some((world, at_depth)) = queue.pop_front() {
            if at_depth >= depth {
                assert!(!scale::is_full(), "the bound cuts off worlds: raise it");
                break;
            }
            for happening in &all {
                match self.after(&world, *happening) {
                    Ok(None) => {}
                    Ok(Some(next)) => {
                        if !came_from.contains_key(&next) {
                            came_from.insert(next.clone(), Some((world.clone(), *happening)));
                            queue.push_back((next, at_depth + 1));
                        }
                    }
                    Err(breach) => {
                        let mut way = vec![*happening];
                        let mut at = &world;
                        while let Some(Some((before, happening))) = came_from.get(at) {
                            way.push(*happening);
                            at = before;
                        }
                        way.reverse();
                        return Err((breach, way));
                    }
                }
            }
        }
        Ok(came_from.into_keys().collect())
    }
}

/// What the real function says of the model's world, all of it read as it is.
/// While nobody is picked yet, `TargetCount` is what was asked for.
fn calls_over(world: &World) -> Vec<(usize, ReleaseReason)> {
    let group: GroupName = name("workers");
    let id = |i: usize| InstanceId::from_number(i as u128 + 1);
    let mut history = History::default();
    for (i, node) in world.iter().enumerate() {
        let Some(state @ ActionState::Asked { scope: RequestScope::Group { .. }, .. }) =
            &node.action
        else {
            continue;
        };
        history.actions.insert(id(i), open(id(i), group.clone(), state.clone()));
    }
    if history.actions.is_empty() {
        return vec![];
    }
    let listed = world.iter().enumerate().filter(|(_, node)| node.instance != Instance::Gone);
    let nodes: Vec<NodeView> = listed.map(|(i, node)| view(id(i), node)).collect();
    let current = NodeCount::of(nodes.len());
    let going = world.iter().any(|node| node.may_be_picked || node.instance == Instance::Doomed);
    let description = GroupDescription {
        role: Role::Worker,
        current,
        target: if going { current.saturating_sub(NodeCount(1)) } else { current },
        calm: true,
        capacity: None,
    };
    let view = GroupView { description, freeze: None, nodes, pending: None, offers: None };
    let snapshot = Snapshot {
        cluster: name("research"),
        begun_at: NOW,
        taken_at: NOW,
        state: Some(ClusterState {
            status: ClusterStatus::InService,
            provisioning: Provisioning::Continuous,
            rival_autoscaler: false,
            software_update: false,
            created: None,
        }),
        listing: Listing::Complete,
        workload: WorkloadSource::Complete,
        groups: [(group, view)].into_iter().collect(),
        cordons: vec![],
        refuses_large_jobs: false,
    };
    let over = group_call::over(&snapshot, &history).into_iter();
    over.map(|(node, why)| (if node == id(0) { 0 } else { 1 }, why)).collect()
}

fn open(node: InstanceId, group: GroupName, state: ActionState) -> OpenAction {
    OpenAction {
        id: ActionId(1),
        group,
        node,
        identity: Identity { launched: LAUNCHED, name: None },
        marked_at: NOW,
        state,
        terms: TERMS,
        evidence: Evidence {
            idle_since: NOW,
            surplus: NodeCount(1),
            tau: UNIT,
            price: UsdPerHour(1),
            boot_cost: Usd::ZERO,
            remainder: None,
        },
        policy: name("policy1"),
    }
}

fn view(id: InstanceId, node: &Node) -> NodeView {
    let is_running = node.instance == Instance::Running;
    NodeView {
        id,
        launched: LAUNCHED,
        status: if is_running { InstanceStatus::Running } else { InstanceStatus::ShuttingDown },
        name: None,
        join_doubt: None,
        image: None,
        health: 100,
        protected: false,
        capacity: NodeCapacity::NotShown,
        scheduler: Reading::Absent,
        activity: Reading::Absent,
        described_running: is_running,
    }
}

/// One unit of time later: what lies far enough back stays there.
fn grow_older(state: ActionState) -> ActionState {
    let older = |at: Time| Time((at.0 - UNIT.0).max(OLDEST));
    match state {
        ActionState::Marked { since } => ActionState::Marked { since: older(since) },
        ActionState::Cordoning { since } => ActionState::Cordoning { since: older(since) },
        ActionState::Settling { until } => ActionState::Settling { until: older(until) },
        ActionState::Asking { request, at, scope } => {
            ActionState::Asking { request, at: older(at), scope }
        }
        ActionState::Asked { request, at, answer, absent_since, running_since, scope } => {
            ActionState::Asked {
                request,
                at: older(at),
                answer,
                absent_since: absent_since.map(older),
                running_since: running_since.map(older),
                scope,
            }
        }
        ActionState::Releasing { why, since } => {
            ActionState::Releasing { why, since: older(since) }
        }
        ActionState::Ended { end, at } => ActionState::Ended { end, at: older(at) },
    }
}

#[test]
fn no_way_through_loses_a_job_or_leaves_a_cordon() {
    let model = Model { step };
    let depth = if scale::is_full() { DEPTH } else { DEPTH_OF_A_SHORT_RUN };
    let reached = match model.search(depth) {
        Ok(reached) => reached,
        Err((breach, way)) => panic!("{breach:?} by {way:#?}"),
    };
    println!("{} worlds, all that can be reached", reached.len());
    assert!(reached.len() > 300_000 || !scale::is_full(), "the search has become small: {}", reached.len());
    assert!(
        reached.iter().any(|world| world.iter().all(|n| n.instance == Instance::Gone))
            || !scale::is_full()
    );

    // From everywhere, a calm world comes to rest: no action that could be
    // released stays open, and no cordon of ours stays on a living node that
    // is not being deleted.
    for world in &reached {
        let mut world = world.clone();
        for _ in 0..12 {
            for i in 0..2 {
                for ends in [Happening::Picked(i), Happening::Terminates(i)] {
                    if let Ok(Some(next)) = model.after(&world, ends) {
                        world = next;
                    }
                }
            }
            for calm in [
                Happening::TimePasses,
                Happening::Paused,
                Happening::Tick(Read::True, Crash::No, Reply::Accepted),
            ] {
                match model.after(&world, calm) {
                    Ok(Some(next)) => world = next,
                    Ok(None) => {}
                    Err(breach) => panic!("{breach:?} in calm weather from {world:?}"),
                }
            }
        }
        for node in &world {
            assert_eq!(node.action, None, "an action stays open: {world:?}");
            assert!(
                node.cordon != Cordon::Ours || node.instance == Instance::Gone,
                "a cordon is left: {world:?}"
            );
        }
    }
}

/// Releases every node after a refusal to answer, at once.
fn impatient(terms: &Terms, state: ActionState, event: &Event) -> (ActionState, Vec<Effect>) {
    match (&state, &event.kind) {
        (ActionState::Asked { answer: Answer::NoAnswer, .. }, EventKind::Look(_)) => {
            let why = ReleaseReason::NeverLeft;
            (ActionState::Releasing { why, since: event.at }, vec![Effect::Release])
        }
        (_, _) => step(terms, state, event),
    }
}

/// Deletes from the look that saw the cordon, without settling.
fn hasty(terms: &Terms, state: ActionState, event: &Event) -> (ActionState, Vec<Effect>) {
    match (&state, &event.kind) {
        // Takes a cordon that was asked for for one that is there.
        (ActionState::Marked { .. }, EventKind::Look(look))
            if matches!(look.seen_node, NodeSeen::Present { .. }) =>
        {
            let request = RequestId(1);
            (
                ActionState::Asked {
                    request,
                    at: event.at,
                    answer: Answer::Accepted,
                    absent_since: None,
                    running_since: None,
                    scope: RequestScope::Named,
                },
                vec![Effect::Delete(request)],
            )
        }
        (_, _) => step(terms, state, event),
    }
}

/// Forgets after a restart that the call was sent.
fn amnesiac(terms: &Terms, state: ActionState, event: &Event) -> (ActionState, Vec<Effect>) {
    match (&state, &event.kind) {
        (ActionState::Asking { .. } | ActionState::Asked { .. }, EventKind::Started) => {
            let why = ReleaseReason::Restarted;
            (ActionState::Releasing { why, since: event.at }, vec![Effect::Release])
        }
        (_, _) => step(terms, state, event),
    }
}

/// Believes of a call for the group what it would of one by ids: a node that
/// goes on running without an answer has not been picked.
fn takes_counts_for_ids(
    terms: &Terms,
    state: ActionState,
    event: &Event,
) -> (ActionState, Vec<Effect>) {
    let state = match state {
        ActionState::Asked { request, at, answer, absent_since, running_since, .. } => {
            let scope = RequestScope::Named;
            ActionState::Asked { request, at, answer, absent_since, running_since, scope }
        }
        other @ (ActionState::Marked { .. }
        | ActionState::Cordoning { .. }
        | ActionState::Settling { .. }
        | ActionState::Asking { .. }
        | ActionState::Releasing { .. }
        | ActionState::Ended { .. }) => other,
    };
    step(terms, state, event)
}

/// Ends an action without taking the cordon off.
fn untidy(terms: &Terms, state: ActionState, event: &Event) -> (ActionState, Vec<Effect>) {
    match (&state, &event.kind) {
        (ActionState::Asked { answer: Answer::Refused { .. }, .. }, EventKind::Look(_)) => {
            let end = End::Released(ReleaseReason::TimedOut);
            (ActionState::Ended { end, at: event.at }, vec![])
        }
        (_, _) => step(terms, state, event),
    }
}

#[test]
fn the_search_finds_planted_bugs() {
    let planted = [
        ("impatient", impatient as Step),
        ("amnesiac", amnesiac),
        ("by ids", takes_counts_for_ids),
    ];
    for (what, planted) in planted {
        let (breach, way) = Model { step: planted }.search(DEPTH).expect_err(what);
        assert_eq!(breach, Breach::ReleasedWhileDeleting, "{what}: {way:?}");
    }
    // A delete without a cordon: the model's world acts on the effect itself.
    let model = Model { step: hasty };
    let fresh = |action| Node {
        action,
        cordon: Cordon::Clear,
        job: false,
        instance: Instance::Running,
        taken_over: false,
        may_be_picked: false,
    };
    let mut world = [fresh(Some(ActionState::Marked { since: NOW })), fresh(None)];
    let look = Model::look(&world[0], Read::True);
    let effects = model.one(&mut world[0], EventKind::Look(look));
    assert_eq!(effects, [Effect::Delete(RequestId(1))]);
    world[0].instance = Instance::Doomed;
    world[0].job = true;
    world[0].action = None;
    let lost = model.after(&world, Happening::Terminates(0));
    assert_eq!(lost.expect_err("a job is lost"), Breach::JobLost);
}

#[test]
fn an_action_that_ends_under_its_cordon_is_swept() {
    let model = Model { step: untidy };
    let refused = ActionState::Asked {
        request: RequestId(1),
        at: NOW,
        answer: Answer::Refused { why: "busy".into() },
        absent_since: None,
        running_since: None,
        scope: RequestScope::Named,
    };
    let node = Node {
        action: Some(refused),
        cordon: Cordon::Ours,
        job: false,
        instance: Instance::Running,
        taken_over: false,
        may_be_picked: false,
    };
    let mut world = [node.clone(), Node { action: None, cordon: Cordon::Clear, ..node }];
    let calm = model.tick(&mut world, Read::True, Crash::No, Reply::Accepted);
    assert_eq!(calm, Ok(()));
    assert_eq!(world[0].cordon, Cordon::Clear, "the sweep takes it off");
}
