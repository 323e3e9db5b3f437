//! UpdateCluster, software updates, and the switches of the API.

use std::collections::BTreeSet;

use trimtab_core::reads::InstanceStatus;
use trimtab_core::units::{NodeCount, Span};
use trimtab_daemon::ports::{DeleteOutcome, Refusal};

use super::{SMALL, cluster, group, ids, spec, world};
use crate::control::{ChangeOutcome, GroupChange, has_acted};
use crate::spec::{GroupSpec, WorldSpec};
use crate::truth::Caller;
use crate::world::World;

fn gpu() -> trimtab_core::ids::GroupName {
    "gpu".parse().expect("valid")
}

fn set(world: &World, count: u32) -> DeleteOutcome {
    let change = GroupChange::Set { group: gpu(), count: NodeCount(count), min: None };
    world.update_cluster(&[change], Caller::Daemon)
}

fn accepted(outcome: DeleteOutcome) -> Vec<trimtab_core::ids::InstanceId> {
    match outcome {
        DeleteOutcome::Answered { accepted, failed } => {
            assert_eq!(failed, []);
            accepted
        }
        DeleteOutcome::Refused { why, .. } | DeleteOutcome::NoAnswer { why } => panic!("{why}"),
    }
}

fn refusal(outcome: DeleteOutcome) -> (Refusal, String) {
    match outcome {
        DeleteOutcome::Refused { cause, why } => (cause, why.to_string()),
        DeleteOutcome::Answered { .. } => panic!("it was not refused"),
        DeleteOutcome::NoAnswer { why } => panic!("{why}"),
    }
}

fn with(change: impl Fn(&mut WorldSpec)) -> World {
    let mut spec = spec("");
    change(&mut spec);
    World::new(spec, vec![]).expect("a world")
}

#[test]
fn a_lower_count_takes_random_nodes_and_the_target_falls_to_it() {
    let mut seen = BTreeSet::new();
    for seed in 1..=40 {
        let world = with(|spec| spec.seed = seed);
        let before = ids(&world);
        let gone = accepted(set(&world, 2));
        assert_eq!((gone.len(), group(&world).target), (2, NodeCount(2)));
        let places: Vec<usize> =
            gone.iter().map(|id| before.iter().position(|own| own == id).expect("own")).collect();
        seen.insert(places);
        world.advance_by(Span::mins(3));
        assert_eq!(group(&world).current, NodeCount(2));
        let truth = world.truth();
        assert_eq!(truth.requests.len(), 1);
        assert_eq!(truth.asked.iter().filter(|asked| asked.terminated.is_some()).count(), 2);
        assert_eq!(truth.nodes_deleted(), 2);
    }
    assert!(seen.len() > 6, "of the 12 ordered pairs: {seen:?}");
}

#[test]
fn a_group_is_kept_at_zero_and_grows_again() {
    let world = world("");
    assert_eq!(accepted(set(&world, 0)).len(), 4);
    world.advance_by(Span::mins(3));
    let empty = group(&world);
    assert_eq!((empty.current, empty.target), (NodeCount::ZERO, NodeCount::ZERO));
    assert!(accepted(set(&world, 3)).is_empty());
    world.advance_by(Span::mins(11));
    assert_eq!((group(&world).current, ids(&world).len()), (NodeCount(3), 3));
    assert!(accepted(set(&world, 3)).is_empty(), "the same count again changes nothing");
}

#[test]
fn nodes_that_are_still_coming_can_be_taken_and_end_their_launch() {
    let world = with(|spec| spec.provisioning = trimtab_core::reads::Provisioning::Classic);
    assert!(accepted(set(&world, 6)).is_empty());
    let (cause, _) = refusal(set(&world, 4));
    assert_eq!(cause, Refusal::Conflict, "a classic cluster has one operation at a time");
    let world = with(|_| {});
    accepted(set(&world, 6));
    let gone = accepted(set(&world, 0));
    assert_eq!(gone.len(), 6);
    world.advance_by(Span::hours(1));
    let truth = world.truth();
    let gpu = truth.groups.values().next().expect("one group");
    assert_eq!((gpu.live, gpu.members, gpu.deleted), (NodeCount::ZERO, NodeCount::ZERO, 6));
    assert!(!world.lock().fleet.is_operating(), "no launch is waited for any more");
}

#[test]
fn groups_are_added_and_deleted_with_their_nodes() {
    let world = world("");
    let mut extra = GroupSpec::new("extra".parse().expect("valid"), NodeCount(2));
    extra.boot = crate::spec::Between::secs(60, 60);
    let add = [GroupChange::Add(Box::new(extra))];
    accepted(world.update_cluster(&add, Caller::Operator));
    world.advance_by(Span::mins(2));
    let described = world.describe(&cluster()).expect("an answer");
    assert_eq!(described.groups.len(), 2);
    assert_eq!(world.workload(&cluster()).expect("an answer").nodes.len(), 6);
    let delete = [GroupChange::Delete("extra".parse().expect("valid"))];
    assert_eq!(accepted(world.update_cluster(&delete, Caller::Operator)).len(), 2);
    let (cause, _) = refusal(world.update_cluster(&delete, Caller::Operator));
    assert_eq!(cause, Refusal::Conflict);
    assert!(matches!(world.update_software(None), ChangeOutcome::Refused(_)));
    world.advance_by(Span::mins(5));
    assert_eq!(world.describe(&cluster()).expect("an answer").groups.len(), 1);
    let (cause, _) = refusal(world.update_cluster(&delete, Caller::Operator));
    assert_eq!(cause, Refusal::NotFound);
    let done = world.update_software(None);
    assert_eq!(done, ChangeOutcome::Done(vec![]), "a group that is gone holds nothing up");
}

#[test]
fn a_refused_update_changes_nothing_and_says_why() {
    let head = "[[group]]\nname = \"head\"\nrole = \"controller\"\ncount = 1\n";
    let world = world(head);
    let changes = [
        GroupChange::Set { group: gpu(), count: NodeCount(1), min: None },
        GroupChange::Set {
            group: "head".parse().expect("valid"),
            count: NodeCount::ZERO,
            min: None,
        },
    ];
    let (_, why) = refusal(world.update_cluster(&changes, Caller::Daemon));
    assert!(why.contains("controller"), "{why}");
    assert_eq!(ids(&world).len(), 5);
    let world = with(|spec| spec.api.max_nodes = NodeCount(5));
    let (_, why) = refusal(set(&world, 6));
    assert!(why.starts_with("ResourceLimitExceeded: "), "{why}");
    assert!(accepted(set(&world, 5)).is_empty());
}

#[test]
fn an_update_without_an_answer_may_have_acted() {
    let late = "[[fault]]\nat = \"1m\"\nfor = \"1m\"\nkind = \"write-times-out-after-acting\"\n";
    let early = "[[fault]]\nat = \"3m\"\nfor = \"1m\"\nkind = \"write-times-out-before-acting\"\n";
    let world = world(&format!("{late}{early}"));
    world.advance_by(Span::secs(90));
    let outcome = set(&world, 3);
    assert!(matches!(outcome, DeleteOutcome::NoAnswer { .. }) && has_acted(&outcome));
    assert_eq!(group(&world).target, NodeCount(3));
    world.advance_by(Span::mins(2));
    let outcome = set(&world, 2);
    assert!(matches!(outcome, DeleteOutcome::NoAnswer { .. }) && !has_acted(&outcome));
    assert_eq!(group(&world).target, NodeCount(3));
}

#[test]
fn a_software_update_shows_on_cluster_and_nodes_and_patches() {
    let world = with(|spec| {
        spec.api.created = crate::spec::api::DELETES_SINCE - Span::hours(1);
        spec.api.software_update = crate::spec::Between::secs(60, 60);
    });
    let one = ids(&world)[..1].to_vec();
    let (cause, why) = refusal(world.delete_nodes(&one, Caller::Daemon));
    assert!(cause == Refusal::Unknown && why.contains("UpdateClusterSoftware"), "{why}");
    assert_eq!(world.update_software(None), ChangeOutcome::Done(vec![]));
    let nodes = world.list_nodes(&cluster()).expect("a listing").nodes;
    assert!(nodes.iter().all(|node| node.status == InstanceStatus::SystemUpdating));
    let (cause, _) = refusal(world.delete_nodes(&one, Caller::Daemon));
    assert_eq!(cause, Refusal::Unknown, "it is not patched yet");
    world.advance_by(Span::mins(2));
    let nodes = world.list_nodes(&cluster()).expect("a listing").nodes;
    assert!(nodes.iter().all(|node| node.status == InstanceStatus::Running));
    assert_eq!(nodes[0].image.as_deref(), Some("1.0.4"));
    assert_eq!(accepted(world.delete_nodes(&one, Caller::Daemon)), one);
}

#[test]
fn each_switch_of_a_delete_has_its_other_answer() {
    use crate::spec::api::{BelowMinAnswer, BusyAnswer, OverLimitAnswer, TargetFalls};
    let late = with(|spec| spec.api.target_falls = TargetFalls::AtEnd);
    let own = ids(&late);
    accepted(late.delete_nodes(&own[..1], Caller::Daemon));
    assert_eq!(group(&late).target, NodeCount(4));
    late.advance_by(Span::mins(3));
    assert_eq!(group(&late).target, NodeCount(3));

    let floored = with(|spec| {
        spec.api.below_min = BelowMinAnswer::Refused;
        spec.groups[0].min_count = Some(NodeCount(3));
    });
    let own = ids(&floored);
    let (_, why) = refusal(floored.delete_nodes(&own[..2], Caller::Daemon));
    assert!(why.contains("MinCount 3"), "{why}");
    accepted(floored.delete_nodes(&own[..1], Caller::Daemon));

    let busy = with(|spec| {
        spec.api.busy = BusyAnswer::Validation;
        spec.provisioning = trimtab_core::reads::Provisioning::Classic;
    });
    let own = ids(&busy);
    accepted(busy.delete_nodes(&own[..1], Caller::Daemon));
    let (cause, why) = refusal(busy.delete_nodes(&own[1..2], Caller::Daemon));
    assert!(cause == Refusal::Unknown && why.starts_with("ValidationException: "), "{why}");

    for (answer, code) in [
        (OverLimitAnswer::Validation, Some("ValidationException: ")),
        (OverLimitAnswer::ResourceLimit, Some("ResourceLimitExceeded: ")),
        (OverLimitAnswer::Accepted, None),
    ] {
        let many = with(|spec| {
            spec.groups[0].count = NodeCount(120);
            spec.groups[0].size = None;
            spec.api.over_limit = answer;
        });
        let outcome = many.delete_nodes(&ids(&many)[..100], Caller::Daemon);
        match code {
            Some(code) => assert!(refusal(outcome).1.starts_with(code)),
            None => assert_eq!(accepted(outcome).len(), 100),
        }
    }
}

#[test]
fn nodes_take_no_delete_while_their_group_lacks_its_minimum() {
    let world = with(|spec| spec.groups[0].min_count = Some(NodeCount(4)));
    let own = ids(&world);
    let more = [GroupChange::Set { group: gpu(), count: NodeCount(6), min: Some(NodeCount(6)) }];
    accepted(world.update_cluster(&more, Caller::Operator));
    let (cause, why) = refusal(world.delete_nodes(&own[..1], Caller::Daemon));
    assert!(cause == Refusal::Conflict && why.contains("MinCount"), "{why}");
    world.advance_by(Span::mins(11));
    accepted(world.delete_nodes(&own[..1], Caller::Daemon));
}

#[test]
fn what_makes_no_sense_in_the_api_table_is_told_with_its_line() {
    let wrong = format!("{SMALL}[api]\naccount = \"12\"\nregion = \"US West\"\n");
    let said = WorldSpec::parse(&wrong, "w.toml").expect_err("two problems").to_string();
    assert!(said.contains("account is `12`: use 12 digits"), "{said}");
    assert!(said.contains("region is `US West`"), "{said}");
    assert!(said.lines().all(|line| line.starts_with("w.toml:21: ")), "{said}");
    let odd = format!("{SMALL}[api]\nbusy = \"perhaps\"\n");
    let said = WorldSpec::parse(&odd, "w.toml").expect_err("no such answer").to_string();
    assert!(said.contains("`conflict` or `validation`") && said.starts_with("w.toml:22"), "{said}");
}
