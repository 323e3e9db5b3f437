//! Checks of the oracle at the end of a run, from the true record and the ledger.

use std::collections::BTreeMap;

use trimtab_core::ids::{ActionId, GroupName, InstanceId};
use trimtab_core::policy::REQUEST_NODE_LIMIT;
use trimtab_core::units::{NodeCount, Span, Time};
use trimtab_daemon::ledger::{HistoryRow, LedgerReader, NodeQuery};
use trimtab_simulator::truth::{Caller, DeleteRequest, Truth};

use super::{Oracle, Rule};

/// A node whose request was not answered must not be released before this time (S17).
const UNANSWERED_KEPT: Span = Span::mins(15);

impl Oracle {
    /// Compares the requests with the ledger.
    ///
    /// # Panics
    /// If the ledger cannot be read.
    pub fn finish(&mut self, truth: &Truth, ledger: &LedgerReader) {
        self.end_read();
        let rows = ledger.history(usize::MAX, None).expect("the ledger can be read");
        let requests: Vec<&DeleteRequest> =
            truth.requests.iter().filter(|request| request.by == Caller::Daemon).collect();
        for request in &requests {
            self.check_request(request, &rows);
        }
        self.check_budgets(&requests);
        self.check_unanswered(&requests);
        self.check_strays(truth.at, &rows);
        self.check_verdicts(truth.at, ledger);
    }

    fn check_request(&mut self, request: &DeleteRequest, rows: &[HistoryRow]) {
        let at = request.at;
        if let Some((_, stay)) = &request.count {
            self.check_count(request, *stay, rows);
        }
        for id in &request.nodes {
            let worker = self.model.nodes.get(id).map(|node| node.group.clone());
            let named = worker.filter(|group| {
                self.model.is_worker(group) && self.policy.groups.contains_key(group)
            });
            let protected = self.model.nodes.get(id).is_some_and(|node| node.protected);
            if named.is_none() {
                self.breach(Rule::S8, at, format!("asks for {id}"));
            }
            if protected {
                self.breach(Rule::S10, at, format!("asks for {id}, which is protected"));
            }
            let wall = self.wall(at);
            let written = rows.iter().any(|row| {
                let fits = |asked: &trimtab_daemon::ledger::RequestRow| {
                    asked.nodes == request.nodes && asked.at <= wall
                };
                row.action.node == *id
                    && (request.count.is_some()
                        || row.charged_at.is_some_and(|charged| charged <= wall))
                    && row.request.as_ref().is_some_and(fits)
            });
            if !written {
                let what = format!("asks for {id} without action, request and charge before it");
                self.breach(Rule::S11, at, what);
            }
            let looked = rows.iter().filter(|row| row.action.node == *id);
            let looks = looked.filter_map(|row| row.request.as_ref());
            let nearest = looks.filter(|r| r.at <= wall).max_by_key(|r| r.at);
            if let Some(asked) = nearest
                && asked.at.since(asked.look_begun_at) > self.policy.timing.max_look_age
            {
                let age = asked.at.since(asked.look_begun_at);
                self.breach(Rule::S13, at, format!("{id}: the look was {age} old"));
            }
        }
    }

    /// Checks that a request by count was recorded with its count and charged for the number of
    /// nodes that it deletes.
    fn check_count(&mut self, request: &DeleteRequest, stay: NodeCount, rows: &[HistoryRow]) {
        let at = request.at;
        let wall = self.wall(at);
        let of_call: Vec<&HistoryRow> = rows
            .iter()
            .filter(|row| {
                row.request.as_ref().is_some_and(|asked| {
                    asked.nodes == request.nodes
                        && asked.count_after == Some(stay)
                        && asked.at <= wall
                })
            })
            .collect();
        let charged = of_call.iter().filter(|row| row.charged_at.is_some()).count();
        let going = NodeCount::of(request.nodes.len()).saturating_sub(stay);
        if NodeCount::of(charged) != going {
            let what = format!("{going} go by a count, {charged} are charged");
            self.breach(Rule::S11, at, what);
        }
    }

    fn check_budgets(&mut self, requests: &[&DeleteRequest]) {
        let mut by_group: BTreeMap<GroupName, Vec<Time>> = BTreeMap::new();
        for request in requests {
            let group = request.nodes.first().and_then(|id| self.model.nodes.get(id));
            let Some(group) = group.map(|node| node.group.clone()) else { continue };
            let Some(policy) = self.policy.groups.get(&group) else { continue };
            let ids = NodeCount::of(request.nodes.len());
            let (limit, ids) = match &request.count {
                None => (policy.budgets.per_request.min(REQUEST_NODE_LIMIT), ids),
                Some((_, stay)) => (policy.budgets.per_request, ids.saturating_sub(*stay)),
            };
            if ids > limit {
                let what = format!("{group}: {ids} ids in one request, at most {limit}");
                self.breach(Rule::S6, request.at, what);
            }
            let asked = by_group.entry(group).or_default();
            asked.extend((0..ids.0).map(|_| request.at));
        }
        for (group, asked) in by_group {
            let Some(policy) = self.policy.groups.get(&group) else { continue };
            let budgets = policy.budgets;
            for (window, limit) in
                [(Span::hours(1), budgets.per_hour), (Span::hours(24), budgets.per_day)]
            {
                for (last, at) in asked.iter().enumerate() {
                    let window = window - self.lost_to_restarts(*at, window);
                    let since = asked[..=last].iter().rev().take_while(|t| at.since(**t) <= window);
                    let ids = NodeCount::of(since.count());
                    if ids > limit {
                        let what = format!("{group}: {ids} ids in {window}, at most {limit}");
                        self.breach(Rule::S6, *at, what);
                        break;
                    }
                }
            }
        }
    }

    /// Returns by how much clock steps before restarts make charges look older. A daemon that was
    /// started after a forward step cannot know about it.
    fn lost_to_restarts(&self, at: Time, window: Span) -> Span {
        let mut lost = Span::ZERO;
        for pair in self.offsets.windows(2) {
            let ((_, before), (stepped, after)) = (pair[0], pair[1]);
            let restarted = self.revived.iter().any(|r| *r >= stepped && *r <= at);
            let by = after - before;
            if restarted && by > Span::ZERO && stepped <= at && at.since(stepped) <= window {
                lost += by;
            }
        }
        lost
    }

    fn check_unanswered(&mut self, requests: &[&DeleteRequest]) {
        let mut found = vec![];
        for request in requests.iter().filter(|request| !request.answered) {
            for id in &request.nodes {
                let soon = self.resumed.iter().find(|(at, node)| {
                    node == id && *at > request.at && at.since(request.at) < UNANSWERED_KEPT
                });
                if let Some((at, _)) = soon {
                    let after = at.since(request.at);
                    found.push((*at, format!("{id} is resumed {after} after an unanswered call")));
                }
            }
        }
        for (at, what) in found {
            self.breach(Rule::S17, at, what);
        }
    }

    fn check_strays(&mut self, at: Time, rows: &[HistoryRow]) {
        let open: BTreeMap<ActionId, &HistoryRow> =
            rows.iter().map(|row| (row.action.id, row)).collect();
        for (action, (node, since)) in self.living_cordons() {
            let Some(row) = open.get(&action) else {
                self.breach(Rule::S17, at, format!("{node} has the unknown cordon {action}"));
                continue;
            };
            let Some(ended) = row.ended_at else { continue };
            // The sweep of a tick without failures removes the cordon.
            let chances = self.calm_ticks.iter().filter(|tick| {
                **tick > since && self.wall(**tick) > ended + self.policy.timing.tick
            });
            if chances.count() > 1 {
                let what = format!("{node} has our cordon {action}, which ended at {ended}");
                self.breach(Rule::S17, at, what);
            }
        }
    }

    fn check_verdicts(&mut self, at: Time, ledger: &LedgerReader) {
        let margin = self.listing_lag + Span::secs(1);
        let mut missing: Vec<InstanceId> = vec![];
        for (id, node) in &self.model.nodes {
            let last = node.ended.unwrap_or(at);
            let seen = self
                .calm_ticks
                .iter()
                .filter(|tick| **tick > node.up_since + margin && **tick <= last);
            if seen.take(2).count() < 2 {
                continue;
            }
            let known = ledger.explain(&NodeQuery::Id(*id), 1).expect("the ledger can be read");
            if known.is_none_or(|known| known.verdicts.is_empty()) {
                missing.push(*id);
            }
        }
        for id in missing {
            self.breach(Rule::S19, at, format!("no verdict on {id} in the ledger"));
        }
    }
}
