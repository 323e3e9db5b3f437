//! `plan`: decides how many nodes to delete, and then which.
//!
//! Planning is pure: the same snapshot, policy, history and time give the same plan, in whatever
//! order the input is. The history must already contain the sample of this snapshot.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::action::{Evidence, ReleaseReason};
use crate::budgets::{self, RequestLimit};
use crate::demand::{self, Queue};
use crate::eligibility::{cluster_objection, group_objection, node_objection};
use crate::floors;
use crate::history::{FreezeReason, History, MassTurn, OpenAction};
use crate::ids::GroupName;
use crate::plan::{
    Bound, GroupFigures, KeepReason, Mark, NodeVerdict, Plan, Release, Verdict, WaitingJob,
};
use crate::policy::{ClusterPolicy, GroupCalls, GroupPolicy, REQUEST_NODE_LIMIT, TimerChoice};
use crate::ranking::Rank;
use crate::reads::PendingJob;
use crate::rule::learned::Learner;
use crate::rule::{BootCost, GroupState, SampleRun, Timer, boot_cost};
use crate::snapshot::{GroupView, NodeView, Snapshot};
use crate::units::{NodeCount, Span, Time, UsdPerHour};

/// Plans one cluster.
pub fn plan(snapshot: &Snapshot, policy: &ClusterPolicy, history: &History, now: Time) -> Plan {
    let mut plan = Plan {
        cluster: snapshot.cluster.clone(),
        made_at: now,
        policy: policy.hash.clone(),
        marks: vec![],
        releases: vec![],
        freeze: None,
        verdicts: vec![],
        figures: BTreeMap::new(),
    };
    let objection = cluster_objection(snapshot, policy, history, now);
    let live = |name: &GroupName| newest_live(history, name, snapshot.taken_at);
    let cluster_live: NodeCount = policy.groups.keys().map(live).sum();
    let mut cluster_surplus = cluster_live.saturating_sub(policy.min_nodes);

    for (name, group_policy) in dearest_first(policy) {
        let Some(view) = snapshot.groups.get(name) else { continue };
        let group = Group {
            name,
            view,
            policy: group_policy,
            history,
            state: history.groups.get(name),
            cost: boot_cost(group_policy),
            now,
        };
        let mut figures = group.figures();
        let releases = group.releases(&mut figures, snapshot);
        let objection = objection
            .clone()
            .or_else(|| group_objection(view, group_policy, snapshot.refuses_large_jobs));
        let (marks, verdicts) = match objection {
            Some(why) => (vec![], group.verdicts_all(&why, &releases)),
            None => group.choose(policy, cluster_surplus, &releases, &mut figures),
        };
        cluster_surplus = cluster_surplus.saturating_sub(figures.marks);
        plan.marks.extend(marks);
        plan.releases.extend(releases);
        plan.verdicts.extend(verdicts);
        plan.figures.insert(name.clone(), figures);
    }
    for (name, view) in &snapshot.groups {
        if !policy.groups.contains_key(name) {
            plan.verdicts.extend(view.nodes.iter().map(|node| NodeVerdict {
                node: node.id,
                name: node.name.clone(),
                group: name.clone(),
                verdict: Verdict::Keep(KeepReason::GroupNotNamed),
            }));
        }
    }
    stop_if_too_many(&mut plan, policy);
    plan
}

/// Returns the groups, highest price first. In this order they use up the nodes above the floor of
/// the cluster.
fn dearest_first(policy: &ClusterPolicy) -> Vec<(&GroupName, &GroupPolicy)> {
    let mut groups: Vec<_> = policy.groups.iter().collect();
    groups.sort_by_key(|(name, group)| {
        (Reverse(group.price.unwrap_or(UsdPerHour::ZERO)), (*name).clone())
    });
    groups
}

/// Returns the live nodes in the sample taken at `now`; 0 for a group without such a sample, for
/// example because it is gone from the cluster.
fn newest_live(history: &History, name: &GroupName, now: Time) -> NodeCount {
    let newest = history.groups.get(name).and_then(|state| state.runs.back());
    let newest = newest.filter(|run| run.to == now);
    newest.map_or(NodeCount::ZERO, |run| run.counts.live())
}

/// Removes all marks and freezes the cluster if the plan marks more nodes than `mass_change`
/// allows. The share is of the declared sizes, as in every budget, because a share of the current
/// count would fall with every deletion (docs/safety.md, S7).
fn stop_if_too_many(plan: &mut Plan, policy: &ClusterPolicy) {
    let declared: NodeCount = policy.groups.values().map(|group| group.size).sum();
    let changed = NodeCount::of(plan.marks.len());
    if policy.mass_change.is_exceeded(changed, declared) {
        let turned = MassTurn::Marked;
        let why = FreezeReason::MassChange { turned, changed, of: declared };
        let freeze = crate::history::Freeze { at: plan.made_at, why: why.clone() };
        for verdict in &mut plan.verdicts {
            if matches!(verdict.verdict, Verdict::Mark(_)) {
                verdict.verdict = Verdict::Keep(KeepReason::Frozen(freeze.clone()));
            }
        }
        plan.marks.clear();
        for figures in plan.figures.values_mut() {
            figures.marks = NodeCount::ZERO;
        }
        plan.freeze = Some(why);
    }
}

/// How many nodes of a group to delete.
struct Choice {
    count: NodeCount,
    /// The bound that prevented more.
    bound: Bound,
    /// Nodes that stay, if the deletion needs a whole-group request.
    remainder: Option<NodeCount>,
}

/// One group and all inputs of its decision.
struct Group<'a> {
    name: &'a GroupName,
    view: &'a GroupView,
    policy: &'a GroupPolicy,
    history: &'a History,
    state: Option<&'a GroupState>,
    cost: Option<BootCost>,
    now: Time,
}

impl Group<'_> {
    fn figures(&self) -> GroupFigures {
        let newest = self.state.and_then(|state| state.runs.back());
        let learner = self.state.and_then(|state| state.learner.as_ref());
        let tau = self.tau();
        let surplus = tau.and_then(|tau| self.state?.surplus(tau, self.now));
        let (waiting, waiting_jobs) = self.waiting();
        GroupFigures {
            counts: newest.map(|run| run.counts),
            covered_since: self.state.and_then(GroupState::covered_since),
            tau,
            cost: self.cost,
            surplus,
            upcoming: newest.map_or(NodeCount::ZERO, |run| run.counts.upcoming),
            waiting,
            waiting_jobs,
            headroom: self.headroom(),
            floor: floors::floor(self.policy, self.now),
            candidates: NodeCount::ZERO,
            marks: NodeCount::ZERO,
            bound: None,
            wanted_back: NodeCount::ZERO,
            next_at: self.next_at(tau),
            fit: learner.and_then(Learner::fit).copied(),
            group_call_refused: self.history.group_calls_refused.contains(self.name),
            standing: self.learner().filter(|l| l.fit().is_some()).map(Learner::standing),
        }
    }

    /// Returns the waiting jobs that would take nodes of this group now, largest first and cut to
    /// [`WaitingJob::LISTED`], and their number.
    fn waiting(&self) -> (Vec<WaitingJob>, usize) {
        let Some(queue) = Queue::of(self.view) else { return (vec![], 0) };
        let largest = self.state.map_or(NodeCount::ZERO, |state| state.largest);
        let holding = demand::holding(queue, self.policy, largest, self.now);
        let mut waiting: Vec<(NodeCount, &PendingJob)> =
            holding.map(|job| (demand::nodes_of(job, self.policy), job)).collect();
        let count = waiting.len();
        waiting.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.id.cmp(&b.id)));
        waiting.truncate(WaitingJob::LISTED);
        let listed = waiting.into_iter().map(|(nodes, job)| WaitingJob {
            job: job.id.clone(),
            nodes,
            reason: Arc::clone(&job.reason),
        });
        (listed.collect(), count)
    }

    fn tau(&self) -> Option<Span> {
        let cost = self.cost?;
        let empty = GroupState::default();
        Some(self.policy.timer.tau(self.state.unwrap_or(&empty), &cost, self.now))
    }

    /// Returns the headroom in force: the higher of the declared and the learned one.
    fn headroom(&self) -> NodeCount {
        self.policy.min_idle_nodes.max(self.learner().map_or(NodeCount::ZERO, Learner::headroom))
    }

    /// Returns the learner if the policy chooses the learned timer.
    fn learner(&self) -> Option<&Learner> {
        match self.policy.timer {
            TimerChoice::Learned => self.state?.learner.as_ref(),
            TimerChoice::Fixed(_) | TimerChoice::BreakEven => None,
        }
    }

    /// Returns the time at which the next node is surplus if the counts stay as they are.
    fn next_at(&self, tau: Option<Span>) -> Option<Time> {
        let state = self.state?;
        let counts = state.runs.back()?.counts;
        let wanted = self.headroom() + NodeCount(1);
        let is_free = counts.free() >= counts.upcoming + wanted;
        let at = state.surplus_from(wanted, tau?)?;
        is_free.then_some(at)
    }

    fn open_actions(&self) -> impl Iterator<Item = &OpenAction> {
        self.history.actions.values().filter(|action| action.group == *self.name)
    }

    /// Returns the actions to release: as many as the floor or waiting jobs lack, newest first.
    fn releases(&self, figures: &mut GroupFigures, snapshot: &Snapshot) -> Vec<Release> {
        // Only a sample of this very tick can show a shortage.
        let newest = self.state.and_then(|state| state.runs.back());
        let Some(run) = newest.filter(|run| run.to == snapshot.taken_at) else { return vec![] };
        if let Some(stay) = self.whole_group_stays() {
            return self.whole_group_back(stay, run, figures);
        }
        let live = run.counts.live();
        let below_floor = figures.floor.saturating_sub(live);
        let unmet = (run.counts.queued + figures.upcoming).saturating_sub(run.counts.idle);
        let wanted = below_floor.max(unmet);
        let why = if below_floor >= unmet { ReleaseReason::Floor } else { ReleaseReason::Demand };
        let coming = self.open_actions().filter(|a| a.state.is_releasing()).count();
        figures.wanted_back = wanted.saturating_sub(NodeCount::of(coming));
        let mut revocable: Vec<_> =
            self.open_actions().filter(|action| action.state.is_revocable()).collect();
        revocable.sort_by_key(|action| Reverse((action.marked_at, action.id)));
        revocable
            .into_iter()
            .take(figures.wanted_back.get())
            .map(|action| Release { action: action.id, node: action.node, why: why.clone() })
            .collect()
    }

    /// Returns how many nodes the whole-group request keeps for which nodes of this group are
    /// marked, if any.
    fn whole_group_stays(&self) -> Option<NodeCount> {
        self.open_actions().find_map(|action| action.evidence.remainder)
    }

    /// Releases the nodes that are marked for a whole-group request: all or none. The request
    /// needs every node of the group, and without it a node that was to stay must not be deleted
    /// by its id. The nodes that the request keeps are released right after it, so they count as
    /// live and idle here.
    fn whole_group_back(
        &self,
        stay: NodeCount,
        run: &SampleRun,
        figures: &mut GroupFigures,
    ) -> Vec<Release> {
        let below_floor = figures.floor.saturating_sub(run.counts.live() + stay);
        let idle = run.counts.idle + stay;
        let unmet = (run.counts.queued + figures.upcoming).saturating_sub(idle);
        let is_whole = self.view.nodes.iter().all(|node| {
            let action = self.history.actions.get(&node.id);
            action.is_some_and(|a| a.evidence.remainder == Some(stay) && a.state.is_revocable())
        });
        let is_whole = is_whole && self.open_actions().count() == self.view.nodes.len();
        let why = if below_floor > NodeCount::ZERO && below_floor >= unmet {
            ReleaseReason::Floor
        } else if unmet > NodeCount::ZERO {
            ReleaseReason::Demand
        } else if !is_whole {
            ReleaseReason::Vetoed("its whole-group request is no longer possible".into())
        } else {
            return vec![];
        };
        let revocable = self.open_actions().filter(|action| action.state.is_revocable());
        let releases: Vec<Release> = revocable
            .map(|action| Release { action: action.id, node: action.node, why: why.clone() })
            .collect();
        figures.wanted_back = NodeCount::of(releases.len());
        releases
    }

    /// Chooses the nodes to delete and returns a verdict for each node of the group.
    fn choose(
        &self,
        policy: &ClusterPolicy,
        cluster_surplus: NodeCount,
        releases: &[Release],
        figures: &mut GroupFigures,
    ) -> (Vec<Mark>, Vec<NodeVerdict>) {
        // `group_objection` has already kept a group whose price or boot time is unknown.
        let (Some(tau), Some(BootCost { price, boot_cost, .. })) = (figures.tau, self.cost) else {
            return (vec![], self.verdicts_all(&KeepReason::PriceUnknown, releases));
        };
        let mut candidates: Vec<(Rank, usize, Time)> = vec![];
        // One entry for each node. The entries of candidates are set below.
        let mut verdicts: Vec<Option<Verdict>> = Vec::with_capacity(self.view.nodes.len());
        for (place, node) in self.view.nodes.iter().enumerate() {
            if let Some(verdict) = self.leaving(node, releases) {
                verdicts.push(Some(verdict));
                continue;
            }
            let judged =
                node_objection(node, self.name, policy, self.policy, self.history, self.now);
            verdicts.push(match judged {
                Ok(idle_since) => {
                    candidates.push((Rank::of(node, self.policy), place, idle_since));
                    None
                }
                Err(why) => Some(Verdict::Keep(why)),
            });
        }
        candidates.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        figures.candidates = NodeCount::of(candidates.len());
        let Choice { count, bound, remainder } = self.how_many(figures, policy, cluster_surplus);
        figures.marks = count;
        figures.bound = Some(bound);
        // A whole-group request needs all nodes of the group cordoned, because HyperPod selects
        // which ones go.
        let marked = if remainder.is_some() { candidates.len() } else { count.get() };

        let mut marks = vec![];
        for (rank, (_, place, idle_since)) in candidates.into_iter().enumerate() {
            let verdict = match figures.surplus {
                Some(surplus) if rank < marked => {
                    let evidence =
                        Evidence { idle_since, surplus, tau, price, boot_cost, remainder };
                    marks.push(self.mark(&self.view.nodes[place], evidence));
                    Verdict::Mark(evidence)
                }
                Some(_) => Verdict::Keep(KeepReason::Enough(bound)),
                None => Verdict::Keep(KeepReason::WindowOpen {
                    covered_since: figures.covered_since,
                    tau,
                }),
            };
            verdicts[place] = Some(verdict);
        }
        let words = self.view.nodes.iter().zip(verdicts).filter_map(|(node, verdict)| {
            Some(NodeVerdict {
                node: node.id,
                name: node.name.clone(),
                group: self.name.clone(),
                verdict: verdict?,
            })
        });
        (marks, words.collect())
    }

    fn mark(&self, node: &NodeView, evidence: Evidence) -> Mark {
        let identity = node.identity();
        Mark { node: node.id, group: self.name.clone(), identity, evidence }
    }

    /// Returns how many nodes to delete, by ids or by a whole-group request, and the bound that
    /// prevented more.
    fn how_many(
        &self,
        figures: &GroupFigures,
        policy: &ClusterPolicy,
        cluster_surplus: NodeCount,
    ) -> Choice {
        // HyperPod may still select a node whose cordon an operator removed, so nothing is marked
        // while the request is open.
        let is_called = self.open_actions().any(|action| action.state.is_in_group_call());
        if is_called || self.whole_group_stays().is_some() {
            return Choice { count: NodeCount::ZERO, bound: Bound::WholeGroup, remainder: None };
        }
        let (count, bound) = self.tightest(figures, cluster_surplus, RequestLimit::Ids);
        let named = Choice { count, bound, remainder: None };
        match self.history.group_calls(self.name, self.policy) {
            GroupCalls::Never => named,
            GroupCalls::ToZero | GroupCalls::WholeGroup => {
                self.as_a_whole(figures, policy, cluster_surplus, named)
            }
        }
    }

    /// Returns a whole-group request if it deletes more nodes than a request by ids. Otherwise ids
    /// are better: they name the nodes, and the other nodes keep running jobs.
    fn as_a_whole(
        &self,
        figures: &GroupFigures,
        policy: &ClusterPolicy,
        cluster_surplus: NodeCount,
        named: Choice,
    ) -> Choice {
        let (count, bound) = self.tightest(figures, cluster_surplus, RequestLimit::Count);
        let listed = NodeCount::of(self.view.nodes.len());
        let open = NodeCount::of(self.open_actions().count());
        let is_revocable = |node: &&NodeView| {
            self.history.actions.get(&node.id).is_some_and(|a| a.state.is_revocable())
        };
        let revocable = NodeCount::of(self.view.nodes.iter().filter(is_revocable).count());
        let declared: NodeCount = policy.groups.values().map(|group| group.size).sum();
        let is_believable = |marks| !policy.mass_change.is_exceeded(marks, declared);
        if count <= named.count {
            return named;
        }
        // All listed nodes are deleted, so it does not matter which ones HyperPod selects.
        let all_go = count == figures.candidates
            && open == revocable
            && count + open == listed
            && is_believable(count);
        if all_go {
            return Choice { count, bound, remainder: None };
        }
        // Some nodes stay, and HyperPod selects which. So every node has to be cordoned, and the
        // ones that stay take no jobs for a while.
        let some_stay = self.policy.group_calls == GroupCalls::WholeGroup
            && count > REQUEST_NODE_LIMIT
            && count < listed
            && open == NodeCount::ZERO
            && figures.candidates == listed
            && budgets::leaving_limit(self.policy) >= listed
            && is_believable(listed);
        if some_stay {
            Choice { count, bound, remainder: Some(listed.saturating_sub(count)) }
        } else {
            named
        }
    }

    /// Returns the lowest bound and its name.
    fn tightest(
        &self,
        figures: &GroupFigures,
        cluster_surplus: NodeCount,
        limit: RequestLimit,
    ) -> (NodeCount, Bound) {
        let Some(surplus) = figures.surplus else { return (NodeCount::ZERO, Bound::Surplus) };
        let live = newest_live(self.history, self.name, self.now);
        // Jobs that start soon first take the nodes that τ keeps. Only idle nodes beyond those
        // jobs are surplus (docs/cost-rule.md, section 2).
        let free = figures.counts.map_or(NodeCount::ZERO, |counts| counts.free());
        let surplus_count =
            surplus.min(free.saturating_sub(figures.upcoming)).saturating_sub(figures.headroom);
        // Of equal bounds the first in this order is named.
        let candidates = (figures.candidates, Bound::Candidates);
        let others = [
            (surplus_count, Bound::Surplus),
            (live.saturating_sub(figures.floor), Bound::Floor),
            (cluster_surplus, Bound::ClusterFloor),
        ];
        let budgets = budgets::remaining(self.name, self.policy, self.history, self.now, limit);
        let bounds = others.into_iter().chain(budgets);
        bounds.fold(candidates, |lowest, next| if next.0 < lowest.0 { next } else { lowest })
    }

    /// Returns the verdict of a node with an open action, if it has one.
    fn leaving(&self, node: &NodeView, releases: &[Release]) -> Option<Verdict> {
        let action = self.history.actions.get(&node.id)?;
        let release = releases.iter().find(|release| release.action == action.id);
        Some(match release {
            Some(release) => Verdict::Release(release.why.clone()),
            None => Verdict::Leaving { state: action.state.name().into() },
        })
    }

    /// Returns the same reason for every node without an open action.
    fn verdicts_all(&self, why: &KeepReason, releases: &[Release]) -> Vec<NodeVerdict> {
        let verdict =
            |node| self.leaving(node, releases).unwrap_or_else(|| Verdict::Keep(why.clone()));
        let nodes = self.view.nodes.iter();
        nodes
            .map(|node| NodeVerdict {
                node: node.id,
                name: node.name.clone(),
                group: self.name.clone(),
                verdict: verdict(node),
            })
            .collect()
    }
}
