//! Tests of the entries of `utilization`: which metrics each one reads, and for which groups.

use super::*;

/// Two groups of a Slurm cluster whose entries of utilization are these.
fn cluster(entries: &str) -> String {
    format!(
        r#"
config_version = 1
[[cluster]]
name = "c"
region = "us-west-2"
account_id = "123456789012"
scheduler = {{ kind = "slurm" }}
utilization = [
{entries}
]
[[cluster.group]]
name = "gpu"
size = 20
min_nodes = 2
max_delete_per_hour = 3
capacity = "on-demand"
gpus_per_node = 8
[[cluster.group]]
name = "cpu"
size = 20
min_nodes = 2
max_delete_per_hour = 3
capacity = "on-demand"
gpus_per_node = 0
"#
    )
}

/// The same without a scheduler.
fn alone(entries: &str) -> String {
    cluster(entries)
        .replace("{ kind = \"slurm\" }", "{ kind = \"none\" }\nevidence = \"metrics-only\"")
}

fn entry(rest: &str) -> String {
    format!("{{ kind = \"cloudwatch\", idle_below_percent = 5, window = \"20m\", {rest} }},\n")
}

/// One metric spelled out, for both groups.
fn spelled(rest: &str) -> String {
    entry(&format!("namespace = \"N\", metric = \"m\", {rest}"))
}

fn signals_of<'a>(settings: &'a Settings, group: &str) -> &'a [CloudwatchSignal] {
    let signals = &settings.clusters[0].signals;
    signals.get(&group.parse().unwrap()).map_or(&[], Vec::as_slice)
}

/// Returns namespace, metric, measure, full scale, dimensions and device as one line.
fn line(signal: &CloudwatchSignal) -> String {
    let CloudwatchSignal { namespace, metric, measure, full_scale, dimensions, device } = signal;
    let scale = match full_scale {
        FullScale::Value(value) => value.to_string(),
        FullScale::Metric(metric) => metric.clone(),
    };
    let dimensions: Vec<String> = dimensions
        .iter()
        .map(|(name, pattern)| match pattern {
            DimensionPattern::Any => format!("{name}=*"),
            DimensionPattern::Text(text) => format!("{name}={text}"),
        })
        .collect();
    let device = device.as_deref().unwrap_or("-");
    format!("{namespace} {metric} {measure:?} {scale} {} {device}", dimensions.join(","))
}

#[test]
fn presets_ask_for_what_the_agents_publish() {
    for (preset, lines) in [
        (
            "cwagent-nvidia",
            &[
                "CWAgent nvidia_smi_utilization_gpu Utilization 100 \
                 InstanceId={instance_id},index=* index",
                "CWAgent nvidia_smi_memory_used Memory nvidia_smi_memory_total \
                 InstanceId={instance_id},index=* index",
            ][..],
        ),
        (
            "cwagent-cpu",
            &[
                "CWAgent cpu_usage_active Utilization 100 InstanceId={instance_id},cpu=cpu-total -",
                "CWAgent mem_used_percent Memory 100 InstanceId={instance_id} -",
            ],
        ),
        (
            "container-insights-nvidia",
            &[
                "ContainerInsights node_gpu_utilization Utilization 100 \
                 GpuDevice=*,InstanceId={instance_id} GpuDevice",
                "ContainerInsights node_gpu_memory_utilization Memory 100 \
                 GpuDevice=*,InstanceId={instance_id} GpuDevice",
            ],
        ),
        (
            "container-insights-cpu",
            &[
                "ContainerInsights node_cpu_utilization Utilization 100 InstanceId={instance_id} -",
                "ContainerInsights node_memory_utilization Memory 100 InstanceId={instance_id} -",
            ],
        ),
        (
            "container-insights-neuron",
            &["ContainerInsights node_neuroncore_utilization Utilization 100 \
               InstanceId={instance_id} -"],
        ),
    ] {
        let keys = format!("preset = \"{preset}\", groups = [\"gpu\"]");
        let settings = good(&cluster(&entry(&keys)));
        let asked: Vec<String> = signals_of(&settings, "gpu").iter().map(line).collect();
        assert_eq!(asked, lines, "{preset}");
        assert_eq!(signals_of(&settings, "cpu"), [], "{preset}");
        let moved = format!("{keys}, namespace = \"/aws/sagemaker/Clusters\"");
        let settings = good(&cluster(&entry(&moved)));
        let elsewhere = |signal: &CloudwatchSignal| signal.namespace == "/aws/sagemaker/Clusters";
        assert!(signals_of(&settings, "gpu").iter().all(elsewhere), "{preset}");
    }
}

#[test]
fn a_spelled_out_metric_is_asked_for_as_it_is_written() {
    let keys = "measure = \"utilization\", dimensions = { Host = \"{cluster}-{node}\", Group = \
                \"{group}\", gpu = \"*\" }, device = \"gpu\", full_scale = 0.5, groups = [\"gpu\"]";
    let settings = good(&cluster(&spelled(keys)));
    let expected = "N m Utilization 0.5 Group={group},Host={cluster}-{node},gpu=* gpu";
    assert_eq!(signals_of(&settings, "gpu").iter().map(line).collect::<Vec<_>>(), [expected]);
    let keys = "measure = \"utilization\", dimensions = { I = \"{instance_id}\" }, \
                full_scale_metric = \"most\"";
    let settings = good(&cluster(&spelled(keys)));
    assert_eq!(line(&signals_of(&settings, "cpu")[0]), "N m Utilization most I={instance_id} -");
    let keys = "measure = \"utilization\", dimensions = { I = \"{instance_id}\" }";
    let settings = good(&cluster(&spelled(keys)));
    assert_eq!(signals_of(&settings, "cpu")[0].full_scale, FullScale::Value(100.0));
}

#[test]
fn entries_are_for_the_groups_they_name_and_the_first_says_the_rule() {
    let entries = "{ kind = \"cloudwatch\", preset = \"cwagent-nvidia\", groups = [\"gpu\"], \
                   idle_below_percent = 5, memory_below_percent = 7, window = \"20m\" },\n\
                   { kind = \"cloudwatch\", preset = \"cwagent-cpu\", groups = [\"cpu\", \"gpu\"], \
                   idle_below_percent = 5, memory_below_percent = 7, window = \"20m\", period = \
                   \"60s\" },\n\
                   { kind = \"cloudwatch\", namespace = \"N\", metric = \"m\", measure = \
                   \"utilization\", dimensions = { I = \"{instance_id}\" } },";
    let settings = good(&cluster(entries));
    let metrics = |group| {
        let signals = signals_of(&settings, group).iter();
        signals.map(|signal| signal.metric.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        metrics("gpu"),
        [
            "nvidia_smi_utilization_gpu",
            "nvidia_smi_memory_used",
            "cpu_usage_active",
            "mem_used_percent",
            "m"
        ]
    );
    assert_eq!(metrics("cpu"), ["cpu_usage_active", "mem_used_percent", "m"]);
    let rule = UtilizationRule {
        idle_below: Share::try_from_percent(5.0).unwrap(),
        memory_below: Share::try_from_percent(7.0).unwrap(),
        window: Span::mins(20),
        period: Span::mins(1),
    };
    let cluster = &settings.clusters[0];
    for group in cluster.policy.groups.values() {
        assert_eq!(group.utilization, Some(rule));
    }
    let source = UtilizationSource::Cloudwatch;
    assert_eq!(cluster.utilization, Some(UtilizationSettings { source, rule }));
}

#[test]
fn a_group_without_an_entry_has_no_rule_and_no_signals() {
    let settings = good(&cluster(&entry("preset = \"cwagent-nvidia\", groups = [\"gpu\"]")));
    let groups = &settings.clusters[0].policy.groups;
    assert!(groups[&"gpu".parse().unwrap()].utilization.is_some());
    assert!(groups[&"cpu".parse().unwrap()].utilization.is_none());
    assert_eq!(settings.clusters[0].signals.len(), 1);
    let none = good(SMALL);
    assert!(none.clusters[0].signals.is_empty());
    let simulated = "{ kind = \"simulated\", idle_below_percent = 5, window = \"20m\" }";
    let settings = good(&cluster(simulated).replace("slurm", "simulated"));
    assert!(settings.clusters[0].signals.is_empty());
    assert!(settings.clusters[0].policy.groups.values().all(|group| group.utilization.is_some()));
}

#[test]
fn memory_follows_utilization_unless_the_file_says_otherwise() {
    let share = |percent| Share::try_from_percent(percent).unwrap();
    let rule = |first: &str, own: &str| {
        let own =
            if own.is_empty() { String::new() } else { format!("utilization = {{ {own} }}\n") };
        let text = cluster(&format!(
            "{{ kind = \"cloudwatch\", preset = \"cwagent-cpu\", window = \"20m\", {first} }}"
        ));
        let settings = good(&format!("{text}{own}"));
        let rule = settings.clusters[0].policy.groups[&"cpu".parse().unwrap()].utilization;
        rule.map(|rule| (rule.idle_below, rule.memory_below)).unwrap()
    };
    let idle = "idle_below_percent = 5";
    let both = "idle_below_percent = 5, memory_below_percent = 9";
    assert_eq!(rule(idle, ""), (share(5.0), share(5.0)));
    assert_eq!(rule(both, ""), (share(5.0), share(9.0)));
    assert_eq!(rule(idle, "idle_below_percent = 8"), (share(8.0), share(8.0)));
    assert_eq!(rule(both, "idle_below_percent = 8"), (share(8.0), share(9.0)));
    assert_eq!(rule(idle, "memory_below_percent = 8"), (share(5.0), share(8.0)));
    assert_eq!(rule(both, "memory_below_percent = 8"), (share(5.0), share(8.0)));
}

#[test]
fn what_makes_no_rule_or_asks_for_nothing_is_refused() {
    let node = "dimensions = { I = \"{instance_id}\" }";
    let busy = "measure = \"utilization\"";
    let gpus = "preset = \"cwagent-nvidia\", groups = [\"gpu\"]";
    let cpu = "preset = \"cwagent-cpu\"";
    for (text, why) in [
        // One layout or one metric.
        (cluster(&entry("period = \"60s\"")), "does not name a metric"),
        (cluster(&entry("preset = \"cwagent\"")), "write \"cwagent-nvidia\", \"cwagent-cpu\""),
        (cluster(&entry(&format!("{cpu}, metric = \"m\""))), "is defined by the preset"),
        (cluster(&entry(&format!("{cpu}, {busy}"))), "is defined by the preset"),
        (cluster(&entry(&format!("{cpu}, {node}"))), "is defined by the preset"),
        (cluster(&entry(&format!("{cpu}, full_scale = 100"))), "is defined by the preset"),
        (cluster(&spelled(busy)), "dimensions\n    is missing"),
        (cluster(&spelled(node)), "measure\n    is missing"),
        (cluster(&entry(&format!("{busy}, {node}"))), "metric\n    is missing"),
        (cluster(&spelled(&format!("measure = \"power\", {node}"))), "write \"utilization\" or"),
        // Of which node.
        (cluster(&spelled(&format!("{busy}, dimensions = {{}}"))), "distinguish one node"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ C = \"{{cluster}}\" }}"))), "distinguish one"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ I = \"*\" }}"))), "distinguish one node"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ I = \"{{instanceid}}\" }}"))), "{instance_id}?"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ I = \"{{x}}\" }}"))), "unknown placeholder"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ I = \"{{node\" }}"))), "unmatched brace"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ I = \"node}}\" }}"))), "unmatched brace"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ I = \"i-*\" }}"))), "only if it is the whole"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ I = 7 }}"))), "a dimension's text"),
        (cluster(&spelled(&format!("{busy}, dimensions = {{ \":I\" = \"*\" }}"))), "a dimension's name"),
        (cluster(&spelled(&format!("{busy}, dimensions = \"I\""))), "not a table"),
        (alone(&spelled(&format!("{busy}, dimensions = {{ H = \"{{node}}\" }}"))), "trimtab does not know it"),
        // Its scale and devices.
        (cluster(&spelled(&format!("{busy}, {node}, device = \"gpu\""))), "not one of the dimensions"),
        (cluster(&spelled(&format!("{busy}, {node}, device = \"I\""))), "does not distinguish devices"),
        (cluster(&spelled(&format!("{busy}, {node}, full_scale = 0"))), "is not between 0 and"),
        (cluster(&spelled(&format!("{busy}, {node}, full_scale = nan"))), "not a finite number"),
        (
            cluster(&spelled(&format!("{busy}, {node}, full_scale = 1, full_scale_metric = \"a\""))),
            "and so does full_scale",
        ),
        (cluster(&spelled(&format!("{busy}, {node}, full_scale_metric = \"m\""))), "metric itself"),
        (cluster(&entry("preset = \"cwagent-nvidia\"")), "gpus_per_node = 0\n    is 0, but nvidia"),
        (
            cluster(&entry(gpus)).replace("gpus_per_node = 8\n", ""),
            "group[gpu].gpus_per_node\n    is not set, but nvidia_smi",
        ),
        // Names that CloudWatch does not have.
        (cluster(&entry(&format!("{cpu}, namespace = \":N\""))), "is not a namespace"),
        (cluster(&entry(&format!("{cpu}, namespace = \"\""))), "is not a namespace"),
        (cluster(&spelled(&format!("{busy}, {node}")).replace("\"m\"", "\"\\u00e9\"")), "a metric's name"),
        // Groups.
        (cluster(&entry(&format!("{cpu}, groups = [\"cpus\"]"))), "did you mean \"cpu\"?"),
        (cluster(&entry(&format!("{cpu}, groups = [\"login\"]"))), "is not a group of this cluster"),
        (cluster(&entry(&format!("{cpu}, groups = []"))), "is empty"),
        (cluster(&entry(&format!("{cpu}, groups = [\"cpu\", \"cpu\"]"))), "appears twice"),
        (alone(&entry(gpus)), "group[cpu]\n    has no entry in utilization"),
        (
            format!("{}utilization = {{ window = \"1h\" }}\n", cluster(&entry(gpus))),
            "group[cpu].utilization\n    changes the utilization rule of the cluster, but there is none",
        ),
        // One rule.
        (
            cluster("{ kind = \"cloudwatch\", preset = \"cwagent-cpu\" }"),
            "idle_below_percent\n    is missing",
        ),
        (
            cluster(&format!("{}{{ kind = \"cloudwatch\", {cpu}, groups = [\"cpu\"] }}", entry(gpus))),
            "utilization[#2].window\n    is missing",
        ),
        (
            cluster(&format!("{}{}", entry(cpu), entry("preset = \"container-insights-cpu\"").replace("20m", "30m"))),
            "window = \"30m\"\n    differs from the first entry (line 9)",
        ),
        (
            cluster(&format!("{}{}", entry(cpu), entry("preset = \"container-insights-cpu\", memory_below_percent = 6"))),
            "memory_below_percent = 6\n    differs from the first entry",
        ),
        (
            cluster(&format!("{}{}", entry(cpu), entry("preset = \"container-insights-cpu\", period = \"2m\""))),
            "period = \"2m\"\n    differs from the first entry",
        ),
        (cluster(&format!("{}{}", entry(cpu), entry(cpu))), "a second time"),
        // Measures.
        (cluster(&spelled(&format!("measure = \"memory\", {node}"))), "no metric of this group measures util"),
        (alone(&spelled(&format!("{busy}, {node}"))), "no metric of this group measures memory"),
        (
            cluster(&spelled(&format!("{busy}, {node}, memory_below_percent = 5"))),
            "has no effect: no metric of group cpu measures memory",
        ),
        (cluster(&entry(&format!("{cpu}, memory_below_percent = 0"))), "no measured value is below"),
        (cluster(&entry(&format!("{cpu}, memory_below_percent = 51"))), "in use would"),
        // Simulated metrics.
        (
            cluster("{ kind = \"simulated\", idle_below_percent = 5, window = \"20m\", groups = [\"cpu\"] }")
                .replace("slurm", "simulated"),
            "restricts simulated metrics",
        ),
        (
            cluster("{ kind = \"simulated\", idle_below_percent = 5, window = \"20m\", metric = \"m\" }")
                .replace("slurm", "simulated"),
            "applies to metrics of CloudWatch",
        ),
        (
            cluster("{ kind = \"simulated\", idle_below_percent = 5, window = \"20m\" }"),
            "is simulated, and the cluster is not",
        ),
    ] {
        let report = bad(&text);
        assert!(report.contains(why), "{why}\n--- in\n{report}\n--- of\n{text}");
    }
}

#[test]
fn one_mistake_in_an_entry_is_one_problem() {
    for (entries, why) in [
        (entry("preset = \"cwagent-cpus\""), "did you mean"),
        (entry("preset = \"cwagent-cpu\", groups = \"cpu\""), "in square brackets"),
        (entry("preset = \"cwagent-cpu\", grups = [\"cpu\"]"), "did you mean `groups`?"),
        (entry("preset = \"cwagent-cpu\"").replace("cloudwatch", "cloudwach"), "did you mean"),
        ("7".to_owned(), "is a number, not a table"),
        (entry("preset = \"cwagent-cpu\"").replace("idle_below_percent = 5, ", ""), "is missing"),
    ] {
        for text in [cluster(&entries), alone(&entries)] {
            let report = bad(&text);
            assert!(report.contains(why), "{why}: {report}");
            assert!(report.ends_with("\n1 problem in the configuration"), "{why}: {report}");
        }
    }
}

#[test]
fn a_group_with_utilization_alone_is_told_what_is_not_looked_at() {
    let settings = good(&cluster(&entry("preset = \"container-insights-neuron\"")));
    let about = |group: &str| {
        let text = format!("no metric of group {group} measures memory");
        settings.notes.iter().filter(|note| note.text.contains(&text)).count()
    };
    assert_eq!((about("gpu"), about("cpu")), (1, 1));
}

#[test]
fn a_group_is_shrunk_by_its_count_only_where_that_can_happen() {
    let calls = |word: &str| format!("{SMALL}group_calls = \"{word}\"\n");
    for (word, expected) in [
        ("never", GroupCalls::Never),
        ("whole-group", GroupCalls::WholeGroup),
        ("to-zero", GroupCalls::ToZero),
    ] {
        let text = calls(word).replace("min_nodes = 2", "min_nodes = 0");
        assert_eq!(group(&good(&text)).group_calls, expected);
        let text =
            alone(&entry("preset = \"cwagent-cpu\"")).replace("min_nodes = 2", "min_nodes = 0");
        let settings = good(&format!("{text}group_calls = \"{word}\"\n"));
        let groups = &settings.clusters[0].policy.groups;
        assert_eq!(groups[&"cpu".parse().unwrap()].group_calls, expected, "without a scheduler");
    }
    good(&calls("whole-group"));
    assert!(
        bad(&calls("to-zero")).contains("has no effect: min_nodes keeps 2 of its nodes (line 11)")
    );
    let headroom = calls("to-zero").replace("min_nodes = 2", "min_nodes = 0\nmin_idle_nodes = 1");
    assert!(bad(&headroom).contains("has no effect: min_idle_nodes keeps 1"));
    for value in ["true", "\"always\"", "\"to_zero\"", "0"] {
        let report = bad(&format!("{SMALL}group_calls = {value}\n"));
        assert!(report.contains("write \"never\", \"to-zero\" or \"whole-group\""), "{report}");
    }
}
