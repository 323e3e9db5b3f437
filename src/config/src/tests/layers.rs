//! Tests of several layers: which value wins, which files are refused, and which values the
//! `config` crate would have converted.

use std::ffi::OsString;

use super::*;

/// A folder with `trimtab.toml` and files of `conf.d`, and the other layers.
struct Folder {
    dir: tempfile::TempDir,
    layers: Layers,
}

impl Folder {
    fn new(main: &str, beside: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("trimtab.toml");
        std::fs::write(&file, main).unwrap();
        if !beside.is_empty() {
            std::fs::create_dir(dir.path().join("conf.d")).unwrap();
        }
        for (name, text) in beside {
            std::fs::write(dir.path().join("conf.d").join(name), text).unwrap();
        }
        Self { dir, layers: Layers::of_file(file) }
    }

    fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.layers.environment.push((name.into(), value.into()));
        self
    }

    fn state(mut self, path: &str) -> Self {
        self.layers.state = Some(path.into());
        self
    }

    fn load(&self) -> Result<Loaded, String> {
        let here = format!("{}/", self.dir.path().display());
        load_layers(&self.layers).map_err(|problems| problems.to_string().replace(&here, ""))
    }

    fn good(&self) -> Loaded {
        match self.load() {
            Ok(loaded) => loaded,
            Err(problems) => panic!("{problems}"),
        }
    }

    fn bad(&self) -> String {
        match self.load() {
            Ok(_) => panic!("accepted"),
            Err(problems) => problems,
        }
    }

    /// Value and origin of a key that is in force.
    fn setting(&self, key: &str) -> (String, String) {
        let loaded = self.good();
        let here = format!("{}/", self.dir.path().display());
        let mut settings = loaded.effective.into_iter().filter(|setting| setting.key == key);
        let Setting { value, origin, .. } = settings.next().unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(settings.next(), None, "{key} twice");
        (value.to_string(), origin.to_string().replace(&here, ""))
    }
}

/// More of the cluster of `SMALL`.
fn more(keys: &str) -> String {
    format!("[[cluster]]\nname = \"c\"\n{keys}\n")
}

/// More of the group of `SMALL`.
fn more_group(keys: &str) -> String {
    more(&format!("[[cluster.group]]\nname = \"g\"\n{keys}"))
}

fn owned(value: &str, origin: &str) -> (String, String) {
    (value.to_owned(), origin.to_owned())
}

#[test]
fn every_layer_wins_over_the_ones_before_and_is_named() {
    let key = "state.path";
    let mut main = SMALL.to_owned();
    let mut beside = vec![];
    let folder = Folder::new(&main, &beside);
    assert_eq!(folder.setting(key), owned("\"/var/lib/trimtab/trimtab.db\"", "default"));
    main.insert_str(0, "[state]\npath = \"/main\"\n");
    main = main.replace("config_version = 1\n", "");
    main.insert_str(0, "config_version = 1\n");
    let folder = Folder::new(&main, &beside);
    assert_eq!(folder.setting(key), owned("\"/main\"", "trimtab.toml:3:8"));
    beside.push(("10.toml", "overrides = true\n[state]\npath = \"/ten\"\n"));
    let folder = Folder::new(&main, &beside);
    assert_eq!(folder.setting(key), owned("\"/ten\"", "conf.d/10.toml:3:8"));
    beside.push(("20.toml", "overrides = true\nstate.path = \"/twenty\"\n"));
    let folder = Folder::new(&main, &beside);
    assert_eq!(folder.setting(key), owned("\"/twenty\"", "conf.d/20.toml:2:14"));
    let folder = folder.variable("TRIMTAB__STATE__PATH", "/variable");
    let origin = "environment TRIMTAB__STATE__PATH";
    assert_eq!(folder.setting(key), owned("\"/variable\"", origin));
    let folder = folder.state("/flag");
    assert_eq!(folder.setting(key), owned("\"/flag\"", "--state"));
    assert_eq!(folder.good().settings.state_path, Path::new("/flag"));
}

/// Shows why no value of the `config` crate is used: the crate converts values. If one of these
/// fails, the crate has changed, and the table in `merge.rs` must change too.
#[test]
fn the_config_crate_would_have_coerced_all_of_this() {
    use ::config::{Config, Environment, File, FileFormat};
    let toml = |text| File::from_str(text, FileFormat::Toml);
    let read = |text| Config::builder().add_source(toml(text)).build().unwrap();
    let values = read("half = 7.9\nyes = true\nquoted = \"8\"\noff = \"off\"\ntime = 08:00:00\n");
    assert_eq!(values.get_int("half").unwrap(), 8);
    assert_eq!(values.get_int("yes").unwrap(), 1);
    assert_eq!(values.get_int("quoted").unwrap(), 8);
    assert!(!values.get_bool("off").unwrap());
    assert_eq!(values.get_string("time").unwrap(), "08:00:00");
    assert_eq!(values.get_string("yes").unwrap(), "true");
    assert!(read("nan = nan").get_float("nan").unwrap().is_nan());
    let dotted = read("\"state.path\" = \"/a\"");
    assert_eq!(dotted.get_table("state").unwrap().len(), 1, "a quoted key was no path");
    let two = Config::builder().add_source(toml("a = [1, 2]\n[b]\nc = 1"));
    let two = two.add_source(toml("a = [3]\nb = 5")).build().unwrap();
    assert_eq!(two.get_array("a").unwrap().len(), 1, "lists are replaced");
    assert_eq!(two.get_int("b").unwrap(), 5, "a value replaces a table");
    let variables = [("T__SIZE", "007"), ("t__Path", "/a")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = Environment::with_prefix("T").prefix_separator("__").try_parsing(true);
    let environment = environment.source(Some(variables.into_iter().collect()));
    let environment = Config::builder().add_source(environment).build().unwrap();
    assert_eq!(environment.get_string("size").unwrap(), "7");
    assert_eq!(environment.get_string("path").unwrap(), "/a", "case is folded");
}

#[test]
fn no_layer_coerces_a_value() {
    for value in ["7.9", "true", "\"8\"", "\"off\"", "nan", "-1", "0x1_0000_0000", "[3]"] {
        let wrong =
            SMALL.replace("max_delete_per_hour = 3", &format!("max_delete_per_hour = {value}"));
        let alone = Folder::new(&wrong, &[]).bad();
        assert!(
            alone.contains("trimtab.toml:12:1: cluster[c].group[g].max_delete_per_hour"),
            "{alone}"
        );
        assert!(alone.ends_with("\n1 problem in the configuration"), "{value}: {alone}");
        let without = without(SMALL, "max_delete_per_hour");
        let beside = more_group(&format!("max_delete_per_hour = {value}"));
        let layered = Folder::new(&without, &[("a.toml", &beside)]).bad();
        assert!(layered.contains("conf.d/a.toml:5:1: cluster[c].group[g].max"), "{layered}");
        assert!(layered.ends_with("\n1 problem in the configuration"), "{value}: {layered}");
    }
    for value in ["true", "\"off\"", "0", "1.0"] {
        let wrong = format!("mode = {value}\n{SMALL}");
        assert!(Folder::new(&wrong, &[]).bad().contains("trimtab.toml:1:1: mode"), "{value}");
    }
}

#[test]
fn what_is_no_number_in_toml_does_not_become_one() {
    let wrong = SMALL.replace("max_delete_per_hour = 3", "max_delete_per_hour = 007");
    let report = Folder::new(&wrong, &[]).bad();
    assert!(
        report.contains("trimtab.toml:12:") && report.contains("is not valid TOML"),
        "{report}"
    );
    // More than 64 bits are a problem of that key, not of the file.
    let wrong = SMALL.replace("size = 20", "size = 99999999999999999999");
    let report = Folder::new(&wrong, &[]).bad();
    assert!(report.contains("size = 99999999999999999999\n    is too large"), "{report}");
}

#[test]
fn a_time_of_toml_is_not_taken_for_a_text() {
    let window = |from| {
        format!(
            "{SMALL}keep_windows = [{{ days = \"daily\", from = {from}, to = \"19:00\", zone = \
             \"UTC\", min_nodes = 10 }}]\n"
        )
    };
    Folder::new(&window("\"08:00\""), &[]).good();
    let report = Folder::new(&window("08:00:00"), &[]).bad();
    assert!(report.contains("is a date or time, not a text"), "{report}");
}

#[test]
fn a_variable_is_a_text_whatever_it_looks_like() {
    for value in ["007", "true", "1e3", "off", "", "nan", "[\"a\"]", "INFO"] {
        for (name, key) in [
            ("TRIMTAB__SCHEDULE", "schedule"),
            ("TRIMTAB__LOG__LEVEL", "log.level"),
            ("TRIMTAB__PAUSE_FILE", "pause_file"),
        ] {
            let report = Folder::new(SMALL, &[]).variable(name, value).bad();
            let expected = format!("environment {name}: {key} = {:?}", value);
            let toml = format!("environment {name}: {key} = '{value}'");
            assert!(report.contains(&expected) || report.contains(&toml), "{report}");
        }
    }
    let folder = Folder::new(SMALL, &[]).variable("TRIMTAB__STATE__PATH", "/007,true");
    assert_eq!(folder.setting("state.path").0, "\"/007,true\"");
    let folder = Folder::new(SMALL, &[]).variable("TRIMTAB__SCHEDULE", "0 */5 * * * *");
    assert_eq!(folder.good().settings.schedule.interval(), Span::mins(5));
    let folder = Folder::new(SMALL, &[]).variable("TRIMTAB__LOG__LEVEL", "info,hyper=off");
    assert_eq!(folder.good().settings.log_level.as_str(), "info,hyper=off");
}

#[test]
fn no_variable_moves_a_floor_a_budget_or_the_mode() {
    for name in [
        "TRIMTAB__MODE",
        "TRIMTAB__CONFIG_VERSION",
        "TRIMTAB__CLUSTER",
        "TRIMTAB__CLUSTER__C__MIN_NODES",
        "TRIMTAB__CLUSTER__0__GROUP__0__MIN_NODES",
        "TRIMTAB__STATE",
        "TRIMTAB__",
        "TRIMTAB__STATE__PATH__",
    ] {
        let report = Folder::new(SMALL, &[]).variable(name, "0").bad();
        assert!(report.starts_with(&format!("environment {name}\n")), "{report}");
        assert!(report.contains("cannot be set by a variable"), "{report}");
        assert!(report.ends_with("\n1 problem in the configuration"), "{report}");
    }
    let report = Folder::new(SMALL, &[]).variable("TRIMTAB__STATE_PATH", "/a").bad();
    assert!(report.contains("did you mean TRIMTAB__STATE__PATH?"), "{report}");
}

#[test]
fn a_variable_of_another_case_is_refused_instead_of_folded() {
    for name in ["trimtab__state__path", "TRIMTAB__State__Path", "Trimtab__STATE__PATH"] {
        let folder = Folder::new(SMALL, &[]).variable(name, "/a");
        assert!(folder.bad().contains("did you mean TRIMTAB__STATE__PATH?"), "{name}");
        let both = folder.variable("TRIMTAB__STATE__PATH", "/b");
        assert!(both.bad().contains(name), "{name} beside the right one");
    }
    // Variables of other programs are ignored. A missing underscore is noted.
    let folder = Folder::new(SMALL, &[])
        .variable("TRIMTAB_LOG", "debug")
        .variable("TRIMTABLE", "1")
        .variable("TRIMTAB_STATE_PATH", "/a");
    let notes = folder.good().settings.notes;
    assert!(notes.iter().any(|note| note.text.contains("overrides log.level")), "{notes:?}");
    let about: Vec<_> = notes.iter().filter(|n| n.text.contains("underscores")).collect();
    assert_eq!(about.len(), 1, "{notes:?}");
    assert!(about[0].to_string().starts_with("environment TRIMTAB_STATE_PATH\n"));
}

#[cfg(unix)]
#[test]
fn what_is_not_utf_8_is_a_problem_of_its_layer() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || OsString::from_vec(b"/a\xff".to_vec());
    let report = Folder::new(SMALL, &[]).variable("TRIMTAB__STATE__PATH", odd()).bad();
    assert!(report.contains("environment TRIMTAB__STATE__PATH\n    is not UTF-8"), "{report}");
    let mut folder = Folder::new(SMALL, &[]);
    folder.layers.state = Some(odd().into());
    assert!(folder.bad().contains("--state\n    is not UTF-8 text"));
}

#[test]
fn a_file_beside_adds_keys_groups_and_clusters() {
    let group = "size = 4\nmin_nodes = 0\nmax_delete_per_hour = 1\ncapacity = \"spot\"\n";
    let new_cluster = format!(
        "[[cluster]]\nname = \"d\"\nregion = \"us-west-2\"\naccount_id = \"123456789012\"\n\
         scheduler = {{ kind = \"none\" }}\nevidence = \"metrics-only\"\nutilization = [{{ kind = \
         \"simulated\", idle_below_percent = 5, window = \"20m\" }}]\n[[cluster.group]]\nname = \
         \"h\"\n{group}"
    );
    let folder = Folder::new(
        SMALL,
        &[
            ("10-protected.toml", &more_group("protected = [\"i-0123456789abcdef0\"]")),
            ("20-group.toml", &more(&format!("[[cluster.group]]\nname = \"a\"\n{group}"))),
            ("30-cluster.toml", &format!("config_version = 1\n{new_cluster}")),
            ("40-timing.toml", &more("timing = { settle = \"45s\" }")),
        ],
    );
    let loaded = folder.good();
    let settings = &loaded.settings;
    let names: Vec<_> = settings.clusters.iter().map(|c| c.policy.cluster.as_str()).collect();
    assert_eq!(names, ["c", "d"], "in the order in which they were written");
    let c = &settings.clusters[0].policy;
    assert_eq!(c.groups.len(), 2);
    assert_eq!(c.timing, Timing { settle: Span::secs(45), ..Timing::default() });
    let g = &c.groups[&"g".parse().unwrap()];
    assert_eq!((g.size, g.protected.len()), (NodeCount(20), 1));
    let d = &settings.clusters[1].policy;
    assert_eq!(d.groups[&"h".parse().unwrap()].lookahead, Span::hours(24), "defaults reach it");
    let (_, origin) = folder.setting("cluster[c].group[a].size");
    assert_eq!(origin, "conf.d/20-group.toml:5:8");
    assert_eq!(loaded.files.len(), 5);
    // A note about a group in two files points at its first place.
    let notes: Vec<String> = settings.notes.iter().map(ToString::to_string).collect();
    assert!(notes.iter().any(|note| note.contains("trimtab.toml:8:1: cluster[c].group[g].boot")));
}

#[test]
fn one_key_in_two_files_names_both_places() {
    let folder = Folder::new(
        SMALL,
        &[
            ("a.toml", &more_group("size = 30\nboot = \"20m\"")),
            ("b.toml", &more_group("size = 20\nboot = \"20m\"\nprotected = []")),
            ("c.toml", &format!("schedule = \"0 * * * * *\"\n{}", more_group("protected = []"))),
        ],
    );
    let report = folder.bad();
    for line in [
        "conf.d/a.toml:5:1: cluster[c].group[g].size\n    is already set (trimtab.toml:10)",
        "conf.d/b.toml:5:1: cluster[c].group[g].size\n    is already set (trimtab.toml:10)",
        "conf.d/b.toml:6:1: cluster[c].group[g].boot\n    is already set (conf.d/a.toml:6)",
        "conf.d/c.toml:6:1: cluster[c].group[g].protected\n    is already set (conf.d/b.toml:7)",
    ] {
        assert!(report.contains(line), "{line}\n--- in\n{report}");
    }
    assert!(report.ends_with("\n4 problems in the configuration"), "{report}");
}

#[test]
fn a_file_that_says_so_replaces_and_it_is_told() {
    let main = format!("{SMALL}protected = [\"i-00000000000000001\", \"i-00000000000000002\"]\n");
    let over = more_group("size = 30\nprotected = [\"i-00000000000000003\"]");
    let folder = Folder::new(&main, &[("z.toml", &format!("overrides = true\n{over}"))]);
    let loaded = folder.good();
    let group = group(&loaded.settings);
    assert_eq!(group.size, NodeCount(30));
    // A list is one value: it is replaced, not joined.
    assert_eq!(group.protected, ["i-00000000000000003".parse().unwrap()]);
    assert_eq!(group.min_nodes, Amount::Nodes(NodeCount(2)), "what it does not say stays");
    let told = |key: &str, text: &str| {
        let mut notes = loaded.settings.notes.iter();
        assert!(notes.any(|note| note.key == key && note.text.contains(text)), "{key}: {text}");
    };
    told("cluster[c].group[g].size", "replaces 20 (");
    told("cluster[c].group[g].protected", "replaces [\"i-00000000000000001\"");

    for (text, why) in [
        (format!("overrides = true\n{}", more_group("boot = \"9m\"")), "has no effect: no file"),
        (format!("overrides = \"yes\"\n{over}"), "is not `true`"),
        (format!("overrides = false\n{over}"), "is not `true`"),
    ] {
        let report = Folder::new(&main, &[("z.toml", &text)]).bad();
        assert!(report.contains("conf.d/z.toml:1:1: overrides"), "{report}");
        assert!(report.contains(why), "{report}");
    }
    let report = Folder::new(&format!("overrides = true\n{main}"), &[]).bad();
    assert!(report.contains("belongs at the top of a file of conf.d"), "{report}");
}

#[test]
fn a_value_that_is_replaced_is_still_judged() {
    let main = SMALL.replace("size = 20", "size = \"20\"");
    let over = format!("overrides = true\n{}", more_group("size = 30"));
    let report = Folder::new(&main, &[("z.toml", &over)]).bad();
    assert!(report.contains("trimtab.toml:10:1: cluster[c].group[g].size = \"20\""), "{report}");
    assert!(report.ends_with("\n1 problem in the configuration"), "{report}");
    let main = format!("pause_file = \"relative\"\n{SMALL}");
    let report = Folder::new(&main, &[]).variable("TRIMTAB__PAUSE_FILE", "/absolute").bad();
    assert!(report.contains("trimtab.toml:1:1: pause_file"), "{report}");
}

#[test]
fn a_table_does_not_swallow_a_value_nor_a_value_a_table() {
    let state_is_a_number = format!("state = 5\n{SMALL}");
    let timing =
        format!("{}{}", SMALL.replace("[[cluster.group]]", "timing = 5\n[[cluster.group]]"), "");
    for (main, beside, what) in [
        (
            state_is_a_number.as_str(),
            "overrides = true\n[state]\npath = \"/a\"\n",
            "conf.d/z.toml:2:2: state\n    is a table in one file",
        ),
        (
            &timing,
            &more("[cluster.timing]\nsettle = \"45s\"\n"),
            "conf.d/z.toml:3:10: cluster[c].timing\n    is a table in one file",
        ),
        (SMALL, "cluster = 7\n", "conf.d/z.toml:1:1: cluster\n    is a table in one file"),
        (SMALL, "cluster = []\n", "conf.d/z.toml:1:1: cluster\n    is a table in one file"),
        (
            SMALL,
            "[cluster]\nname = \"c\"\n",
            "conf.d/z.toml:1:2: cluster\n    is a table in one file",
        ),
    ] {
        let report = Folder::new(main, &[("z.toml", beside)]).bad();
        assert!(report.contains(what), "{what}\n--- in\n{report}");
    }
    // Not even a variable does.
    for path in ["5", "\"/a\""] {
        let main = format!("state = {path}\n{SMALL}");
        let report =
            Folder::new(&main, &[]).variable("TRIMTAB__STATE__PATH", "/b").state("/c").bad();
        assert!(report.contains("trimtab.toml:1:1: state"), "{report}");
    }
}

#[test]
fn a_key_with_dots_or_brackets_is_not_a_path() {
    for key in ["\"state.path\"", "\"log.level\"", "\"cluster[0]\"", "\"trimtab.mode\""] {
        let report = Folder::new(&format!("{key} = \"/a\"\n{SMALL}"), &[]).bad();
        assert!(report.contains(&format!("trimtab.toml:1:1: {key}\n    is not a key")), "{report}");
    }
    let report = Folder::new(SMALL, &[("a.toml", "\"state.path\" = \"/a\"\n")]).bad();
    assert!(report.contains("conf.d/a.toml:1:1: \"state.path\"\n    is not a key"), "{report}");
}

#[test]
fn keys_keep_their_case() {
    let report = Folder::new(SMALL, &[("a.toml", "Schedule = \"0 * * * * *\"\n")]).bad();
    assert!(report.contains("did you mean `schedule`?"), "{report}");
    // Names of clusters and groups, too.
    let report =
        Folder::new(SMALL, &[("a.toml", &more_group("boot = \"5m\"").replace("\"g\"", "\"G\""))])
            .bad();
    assert!(report.contains("cluster[c].group[G].size\n    is missing"), "{report}");
}

#[test]
fn one_cluster_twice_in_one_file_is_refused_also_beside() {
    let twice = format!("{}{}", more("min_nodes = 1"), more("min_nodes = 1"));
    let report = Folder::new(SMALL, &[("a.toml", &twice)]).bad();
    assert!(
        report.contains("conf.d/a.toml:5:1: cluster[c].name = \"c\"\n    is the name of another"),
        "{report}"
    );
    assert!(report.contains("(trimtab.toml:4)"), "{report}");
}

#[test]
fn a_file_that_cannot_be_read_does_not_hide_the_problems_of_others() {
    let main = SMALL.replace("size = 20", "size = \"20\"");
    let folder = Folder::new(
        &main,
        &[("a.toml", "[[cluster]\n"), ("b.toml", &more_group("boot = 20\nregian = \"scarce\""))],
    );
    let report = folder.bad();
    for line in [
        "trimtab.toml:10:1: cluster[c].group[g].size = \"20\"",
        "conf.d/a.toml:1:11\n    is not valid TOML",
        "conf.d/b.toml:5:1: cluster[c].group[g].boot = 20",
        "conf.d/b.toml:6:1: cluster[c].group[g].regian\n    is not a key",
    ] {
        assert!(report.contains(line), "{line}\n--- in\n{report}");
    }
    assert!(!report.contains("is missing"), "it may be in the file that is not TOML: {report}");
    let folder = Folder::new(SMALL, &[("a.toml", "")]);
    std::fs::write(folder.dir.path().join("conf.d/b.toml"), b"\xff").unwrap();
    assert!(folder.bad().contains("conf.d/b.toml\n    is not UTF-8 text, from line 1 on"));
    let folder = Folder::new(SMALL, &[]);
    std::fs::write(folder.dir.path().join("conf.d"), "").unwrap();
    assert!(folder.bad().contains("conf.d\n    cannot be read"));
}

#[test]
fn only_files_that_end_in_toml_are_read_and_the_rest_is_told() {
    let folder = Folder::new(
        SMALL,
        &[
            ("a.toml.rpmsave", "nonsense"),
            ("README", "nonsense"),
            (".hidden.toml", "nonsense"),
            ("b.toml", "schedule = \"0 * * * * *\""),
        ],
    );
    std::fs::create_dir(folder.dir.path().join("conf.d/c.toml")).unwrap();
    let loaded = folder.good();
    assert_eq!(loaded.settings.schedule.interval(), Span::mins(1));
    let notes: Vec<String> = loaded.settings.notes.iter().map(ToString::to_string).collect();
    for name in ["a.toml.rpmsave", "README", "c.toml"] {
        assert!(notes.iter().any(|n| n.contains(&format!("conf.d/{name}\n"))), "{name}: {notes:?}");
    }
    assert!(!notes.iter().any(|note| note.contains("hidden")), "{notes:?}");
    let many: Vec<_> = (0..101).map(|n| format!("{n}.toml")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    assert!(Folder::new(SMALL, &many).bad().contains("has 101 files, and at most 100"));
}

#[test]
fn it_does_not_matter_in_which_file_a_key_stands() {
    let path = repository("config/trimtab.toml");
    let text = uncommented(&std::fs::read_to_string(&path).unwrap(), true);
    let root: toml::Table = toml::from_str(&text).unwrap();
    let whole = Folder::new(&text, &[]).good().settings;
    let mut moved = 0;
    let mut check = |main: &toml::Table, beside: String| {
        let folder = Folder::new(&main.to_string(), &[("a.toml", &beside)]);
        let settings = folder.good().settings;
        assert_eq!(
            settings,
            Settings { notes: settings.notes.clone(), ..whole.clone() },
            "{beside}"
        );
        moved += 1;
    };
    fn first<'a>(table: &'a mut toml::Table, list: &str) -> &'a mut toml::Table {
        table.get_mut(list).and_then(|l| l.get_mut(0)).and_then(|t| t.as_table_mut()).unwrap()
    }
    let named = |header: &str, name: &str| format!("{header}\nname = \"{name}\"\n");
    let in_cluster = named("[[cluster]]", "research");
    let in_group = in_cluster.clone() + &named("[[cluster.group]]", "workers-g5");
    type Of = fn(&mut toml::Table) -> &mut toml::Table;
    let levels: [(Of, &str, &[&str]); 3] = [
        (|root| root, "", &["config_version", "cluster"]),
        (|root| first(root, "cluster"), &in_cluster, &["name", "group"]),
        (|root| first(first(root, "cluster"), "group"), &in_group, &["name"]),
    ];
    for (table, header, kept) in levels {
        for key in table(&mut root.clone()).keys().filter(|key| !kept.contains(&key.as_str())) {
            let mut main = root.clone();
            let value = table(&mut main).remove(key).unwrap();
            check(&main, format!("{header}{key} = {value}\n"));
        }
    }
    // Half of a table, too.
    let mut main = root.clone();
    let timing = first(&mut main, "cluster").get_mut("timing").unwrap().as_table_mut().unwrap();
    let settle = timing.remove("settle").unwrap();
    check(&main, format!("{in_cluster}timing.settle = {settle}\n"));
    assert!(moved > 40, "{moved}");
}

#[test]
fn secrets_in_two_files_are_not_repeated() {
    let secret = "aws_secret_access_key = \"hunter2\"\n";
    let report = Folder::new(&format!("{secret}{SMALL}"), &[("a.toml", secret)]).bad();
    assert!(report.contains("credentials do not belong"), "{report}");
    assert!(!report.contains("hunter2"), "{report}");
}

#[test]
fn contradictions_across_files_name_both_of_them() {
    let report = Folder::new(SMALL, &[("a.toml", &more_group("min_idle_nodes = 19"))]).bad();
    assert!(
        report.contains("conf.d/a.toml:5:1: cluster[c].group[g].min_idle_nodes = 19"),
        "{report}"
    );
    assert!(report.contains("together more than size = 20 (trimtab.toml:10)"), "{report}");
}

#[test]
fn everything_in_force_is_listed_once_and_in_the_order_of_the_shipped_file() {
    let path = repository("config/trimtab.toml");
    let text = uncommented(&std::fs::read_to_string(&path).unwrap(), true);
    let folder = Folder::new(&text, &[]);
    let plain = |key: &str| {
        let steps = key.split('.').map(|step| step.split('[').next().unwrap().to_owned());
        steps.collect::<Vec<_>>().join(".")
    };
    let loaded = folder.good();
    let keys: Vec<_> = loaded.effective.iter().map(|setting| setting.key.clone()).collect();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{keys:?}");
    let listed: BTreeSet<String> = keys.iter().map(|key| plain(key)).collect();
    let inner = ["cluster", "cluster.group", "cluster.scheduler", "cluster.mass_change"];
    let tables = ["state", "log", "cluster.timing", "cluster.group.keep_windows"];
    let others = ["cluster.utilization", "cluster.group.utilization"];
    let hooks = ["cluster.gate", "cluster.on_node_check"];
    for key in surface() {
        let is_table = [&inner[..], &tables, &others, &hooks].concat().contains(&key.path.as_str());
        assert_eq!(listed.contains(&key.path), !is_table, "{}", key.path);
    }
    let at = |key: &str| {
        keys.iter().position(|known| known == key).unwrap_or_else(|| panic!("{key}: {keys:?}"))
    };
    let order = [
        "config_version",
        "mode",
        "log.level",
        "cluster[research].name",
        "cluster[research].evidence",
        "cluster[research].utilization[#1].preset",
        "cluster[research].utilization[#2].preset",
        "cluster[research].timing.settle",
        "cluster[research].group[workers-g5].name",
        "cluster[research].group[workers-g5].keep_windows[#1].days",
        "cluster[research].group[workers-g5].keep_windows[#1].zone",
        "cluster[research].group[workers-g5].lookahead",
        "cluster[research].group[workers-g5].utilization.window",
    ];
    assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])), "{keys:?}");
}

#[test]
fn a_default_that_depends_on_other_keys_is_listed_with_its_value() {
    let keys = "instance_type = \"ml.p5.48xlarge\"\ngpus_per_node = 8";
    let metrics = "utilization = [{ kind = \"cloudwatch\", preset = \"cwagent-nvidia\", \
                   idle_below_percent = 2.5, window = \"20m\" }]";
    let main = SMALL.replace("[[cluster.group]]", &format!("{metrics}\n[[cluster.group]]\n{keys}"));
    let folder = Folder::new(&main.replace("simulated", "slurm"), &[]);
    for (key, value) in [
        ("cluster[c].evidence", "\"scheduler\""),
        ("cluster[c].scheduler.conf", "\"/opt/slurm/etc/slurm.conf\""),
        ("cluster[c].utilization[#1].memory_below_percent", "2.5"),
        ("cluster[c].utilization[#1].period", "\"1m\""),
        ("cluster[c].group[g].regain", "\"scarce\""),
        ("cluster[c].group[g].max_delete_per_request", "3"),
        ("cluster[c].group[g].max_delete_per_day", "12"),
        ("cluster[c].group[g].idle_timer", "\"learned\""),
    ] {
        assert_eq!(folder.setting(key), owned(value, "default"), "{key}");
    }
}
