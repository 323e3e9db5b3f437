//! Tests that even the fullest group that the API model allows is sent with nothing changed but
//! its count. The members come from botocore's model file, not from this repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use trimtab_aws::{EchoError, specification};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the output of `tests/wire/fullest_group.py`; `None` without botocore.
#[expect(clippy::print_stdout, reason = "CI looks for tests that were skipped")]
fn model() -> Option<Value> {
    let python = root().join("target/components/venv/bin/python");
    if !python.exists() {
        println!("SKIPPED: botocore is not installed, run scripts/components.sh");
        return None;
    }
    let program = root().join("tests/wire/fullest_group.py");
    let output = Command::new(python).arg(program).output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

fn cases(model: &Value) -> &[Value] {
    model["cases"].as_array().expect("cases")
}

fn without_counts(sent: &Value) -> Map<String, Value> {
    let mut sent = sent.as_object().expect("an object").clone();
    sent.remove("InstanceCount");
    sent.remove("MinInstanceCount");
    sent
}

#[test]
fn every_member_of_the_fullest_group_goes_back_as_it_came_and_only_the_count_changes() {
    let Some(model) = model() else { return };
    assert!(cases(&model).len() > 300, "{}", cases(&model).len());
    for case in cases(&model) {
        let (name, group) = (&case["name"], &case["group"]);
        let target = group["TargetCount"].as_u64().and_then(|n| u32::try_from(n).ok());
        let target = target.expect("a count");
        let least = group.get("MinCount").and_then(Value::as_u64);
        for count in [0, 1, target - 1, target] {
            let sent = specification(group, count).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_eq!(Value::Object(without_counts(&sent)), case["sent"], "{name}");
            assert_eq!(sent["InstanceCount"], json!(count), "{name}");
            let lowered = least.map(|least| least.min(u64::from(count)));
            assert_eq!(sent.get("MinInstanceCount").and_then(Value::as_u64), lowered, "{name}");
        }
    }
}

#[test]
fn a_member_that_this_build_does_not_know_refuses_the_call_wherever_it_is() {
    let Some(model) = model() else { return };
    let fullest = &cases(&model)[0]["group"];
    let places = model["places"].as_array().expect("places");
    assert!(places.len() > 20, "{places:?}");
    for place in places {
        let place = place.as_str().expect("a pointer");
        let mut group = fullest.clone();
        let target = group.pointer_mut(place).and_then(Value::as_object_mut);
        target.expect("a structure").insert("Novelty".to_owned(), json!("new"));
        match specification(&group, 1) {
            Err(EchoError::Unknown(path)) => assert!(path.ends_with("Novelty"), "{path}"),
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn an_image_on_its_way_to_another_is_left_alone() {
    let group = |image: &[(&str, &str)]| {
        let mut group = json!({
            "InstanceGroupName": "workers", "ExecutionRole": "arn:aws:iam::123456789012:role/r",
            "TargetCount": 2,
        });
        let members = group.as_object_mut().expect("an object");
        members.extend(image.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
        group
    };
    for image in [
        &[("CurrentImageReleaseVersion", "1.0.0"), ("DesiredImageReleaseVersion", "1.1.0")][..],
        &[("CurrentImageId", "ami-1"), ("DesiredImageId", "ami-2")],
        // The desired release is not reported, and leaving it out would install the newest.
        &[("CurrentImageReleaseVersion", "1.0.0")],
    ] {
        let refused = specification(&group(image), 1);
        assert!(matches!(refused, Err(EchoError::Image(_))), "{image:?}: {refused:?}");
    }
    let managed = group(&[("DesiredImageId", "ami-1"), ("DesiredImageReleaseVersion", "1.1.0")]);
    let sent = specification(&managed, 1).expect("a managed image has a release");
    assert_eq!(sent["ImageReleaseVersion"], "1.1.0");
    assert_eq!(sent.get("ImageId"), None);
    let custom = specification(&group(&[("DesiredImageId", "ami-1")]), 1).expect("a custom image");
    assert_eq!(custom["ImageId"], "ami-1");
}
