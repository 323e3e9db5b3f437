//! Exhaustive search over `core::action` with two nodes. At every point a job can start or end, an
//! operator can resume or drain a node, reads can fail or lag, a delete request can end in every
//! possible way, time can pass, and the daemon can crash between a commit and its effects. A
//! request by count keeps one of the two nodes. Which node is chosen can be decided at any time
//! after the request, and the real `core::group_call` decides when the request is over.
//!
//! Times are relative to now, so the number of states is finite, and the search runs until it finds
//! no new state.

use std::collections::{HashMap, HashSet, VecDeque};

use trimtab_core::action::{
    ActionState, Answer, Effect, End, Event, EventKind, Evidence, Look, NodeSeen, OwnCordon,
    ReleaseReason, RequestScope, Step, Terms, Work, step,
};
use trimtab_core::group_call;
use trimtab_core::history::{History, OpenAction};
use trimtab_core::ids::{ActionId, GroupName, InstanceId, RequestId};
use trimtab_core::reads::{
    Claim, ClusterState, ClusterStatus, GroupDescription, InstanceStatus, NodeCapacity,
    Provisioning, Reading, Role,
};
use trimtab_core::snapshot::{GroupView, Identity, Listing, NodeView, Snapshot, WorkloadSource};
use trimtab_core::units::{NodeCount, Span, Time, Usd, UsdPerHour};
use trimtab_tests::scale;
use trimtab_tests::worlds::name;

/// Maximum number of events from the start. Deeper than the last new state; a test checks that.
const DEPTH: u32 = 60;
/// Maximum number of events in a scaled-down run: enough for a deletion to end.
const DEPTH_OF_A_SHORT_RUN: u32 = 7;

const NOW: Time = Time(0);
/// Earlier than all other events.
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
    /// The API accepted its deletion, which can end at any time.
    Doomed,
    Gone,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    action: Option<ActionState>,
    cordon: Cordon,
    job: bool,
    instance: Instance,
    /// An operator removed the trimtab cordon after the last look or during the deletion. A job
    /// that starts then could not be seen before the request.
    taken_over: bool,
    /// A request by count was accepted, and the node to delete is not chosen yet.
    may_be_picked: bool,
}

type World = [Node; 2];

/// Rules that a state machine under test can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Breach {
    /// A node was terminated with a job on it.
    JobLost,
    /// A node that is being deleted was released.
    ReleasedWhileDeleting,
}

/// A state machine: the real one, or one with a planted bug.
type StepFn = fn(&Terms, ActionState, &Event) -> Step;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// The true state.
    True,
    /// The listing still shows the previous state.
    Lagging,
    /// The scheduler does not answer.
    NoScheduler,
    /// The listing is incomplete.
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
    /// A request by count was accepted; both nodes could be chosen.
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
    /// This node of two possible nodes is chosen.
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
    step: StepFn,
}

impl Model {
    fn one(&self, node: &mut Node, kind: EventKind) -> Vec<Effect> {
        let Some(state) = node.action.take() else { return vec![] };
        let Step { state, effects } = (self.step)(&TERMS, state, &Event { at: NOW, kind });
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
            // Once the deletion has started, a look at the node changes nothing.
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

    /// Ends requests by count that are over, as the driver does.
    fn end_calls(&self, world: &mut World, looks: &[Look; 2]) -> Result<(), Breach> {
        for (node, why) in calls_over(world) {
            let mut effects = self.one(&mut world[node], EventKind::GroupRequestOver(why));
            effects.extend(self.one(&mut world[node], EventKind::Look(looks[node].clone())));
            self.run(&mut world[node], &effects)?;
        }
        Ok(())
    }

    /// Removes trimtab cordons without an action, as the driver does. A name without an instance is
    /// left alone.
    fn sweep(&self, world: &mut World) -> Result<(), Breach> {
        for node in world {
            let stray = node.action.is_none() && node.cordon == Cordon::Ours;
            if stray && node.instance != Instance::Gone {
                self.run(node, &[Effect::Release])?;
            }
        }
        Ok(())
    }

    /// Deletes the nodes that the audit clears: cordoned, without claims and Running in this look.
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
        // The settle time may be over for only one node; the audit requires both.
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

    /// Returns the world after an event; `None` if the event cannot happen here.
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
                // An operator who resumes a node that is being deleted accepts the risk; trimtab
                // never does this.
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
                // No node is marked while a request by count is open in its group.
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

    /// Returns every reachable world, or the first breach with the events that lead to it.
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

/// Returns the result of the real function for the model's world, read without faults. While no
/// node is chosen yet, `TargetCount` is the requested count.
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

/// Advances the state by one unit of time. Times beyond the oldest relevant time stay there.
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
    assert!(
        reached.len() > 300_000 || !scale::is_full(),
        "the search has become small: {}",
        reached.len()
    );
    assert!(
        reached.iter().any(|world| world.iter().all(|n| n.instance == Instance::Gone))
            || !scale::is_full()
    );

    // From every state, a world without faults becomes stable: no releasable action stays open, and
    // no trimtab cordon stays on a living node that is not being deleted.
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

/// Releases every node at once after a request without an answer.
fn impatient(terms: &Terms, state: ActionState, event: &Event) -> Step {
    match (&state, &event.kind) {
        (ActionState::Asked { answer: Answer::NoAnswer, .. }, EventKind::Look(_)) => {
            let why = ReleaseReason::NeverLeft;
            Step {
                state: ActionState::Releasing { why, since: event.at },
                effects: vec![Effect::Release],
            }
        }
        (_, _) => step(terms, state, event),
    }
}

/// Deletes after the look that first saw the cordon, without the settle time.
fn hasty(terms: &Terms, state: ActionState, event: &Event) -> Step {
    match (&state, &event.kind) {
        // Treats a requested cordon as a cordon that exists.
        (ActionState::Marked { .. }, EventKind::Look(look))
            if matches!(look.seen_node, NodeSeen::Present { .. }) =>
        {
            let request = RequestId(1);
            Step {
                state: ActionState::Asked {
                    request,
                    at: event.at,
                    answer: Answer::Accepted,
                    absent_since: None,
                    running_since: None,
                    scope: RequestScope::Named,
                },
                effects: vec![Effect::Delete(request)],
            }
        }
        (_, _) => step(terms, state, event),
    }
}

/// Forgets after a restart that the request was sent.
fn amnesiac(terms: &Terms, state: ActionState, event: &Event) -> Step {
    match (&state, &event.kind) {
        (ActionState::Asking { .. } | ActionState::Asked { .. }, EventKind::Started) => {
            let why = ReleaseReason::Restarted;
            Step {
                state: ActionState::Releasing { why, since: event.at },
                effects: vec![Effect::Release],
            }
        }
        (_, _) => step(terms, state, event),
    }
}

/// Handles a request by count like a request by ids: it assumes that a node that keeps running
/// after a request without an answer was not chosen.
fn takes_counts_for_ids(terms: &Terms, state: ActionState, event: &Event) -> Step {
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

/// Ends an action without removing the cordon.
fn untidy(terms: &Terms, state: ActionState, event: &Event) -> Step {
    match (&state, &event.kind) {
        (ActionState::Asked { answer: Answer::Refused { .. }, .. }, EventKind::Look(_)) => {
            let end = End::Released(ReleaseReason::TimedOut);
            Step { state: ActionState::Ended { end, at: event.at }, effects: vec![] }
        }
        (_, _) => step(terms, state, event),
    }
}

#[test]
fn the_search_finds_planted_bugs() {
    let planted = [
        ("impatient", impatient as StepFn),
        ("amnesiac", amnesiac),
        ("by ids", takes_counts_for_ids),
    ];
    for (what, planted) in planted {
        let (breach, way) = Model { step: planted }.search(DEPTH).expect_err(what);
        assert_eq!(breach, Breach::ReleasedWhileDeleting, "{what}: {way:?}");
    }
    // A delete without a cordon: the model's world applies the effect itself.
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
