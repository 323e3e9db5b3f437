//! The program as a service: its log, its signals, its notifications to systemd, and the unit file
//! under a real systemd where one is installed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

const WORLD: &str = "config/simulated/world.toml";

/// Time limit of every wait in these tests; not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// Highest exposure level that the unit may have, times ten.
const EXPOSURE: &str = "--threshold=15";

/// Reports a skipped test: CI searches for this word.
#[expect(clippy::print_stdout, reason = "a passing test has no other way to say so")]
fn skipped(why: &str) {
    println!("SKIPPED: {why}");
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the repository")
}

fn trimtab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trimtab"));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    for variable in ["TRIMTAB_LOG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(variable);
    }
    command
}

/// Copies the simulated policy to this folder, changed by `change`, and returns its path.
fn policy(folder: &Path, change: impl Fn(String) -> String) -> String {
    let text = std::fs::read_to_string(root().join("config/simulated/trimtab.toml"));
    let own = folder.to_str().expect("a plain path");
    let path = folder.join("trimtab.toml");
    let text = text.expect("the example is there").replace("/tmp/trimtab-simulated", own);
    std::fs::write(&path, change(text)).expect("written");
    path.to_str().expect("a plain path").to_owned()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn json_lines(output: &Output) -> Vec<Value> {
    let lines = text(&output.stderr).lines();
    lines.map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn tell(process: &Child, signal: &str) {
    let told = Command::new("kill").args([signal, &process.id().to_string()]).status();
    assert!(told.expect("kill runs").success());
}

/// A service that runs in real time, with its log.
struct Service {
    process: Child,
    lines: Receiver<String>,
}

impl Service {
    fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("started");
        let stderr = process.stderr.take().expect("piped");
        let (line, lines) = channel();
        std::thread::spawn(move || {
            for text in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = line.send(text);
            }
        });
        Self { process, lines }
    }

    /// Returns the next line of the log for which this is true.
    fn line(&self, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("a line in time");
            let line: Value = serde_json::from_str(&line).expect(&line);
            if holds(&line) {
                return line;
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// ---- the log ----

#[test]
fn the_log_has_one_event_a_tick_and_a_step_with_the_ledgers_ids() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let mut run = trimtab(&["run", "--once", "--config", &config, "--world", WORLD]);
    let output = run.env("TRIMTAB_LOG", "debug").output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines = json_lines(&output);
    assert!(!text(&output.stderr).contains('\u{1b}'), "colours in a pipe");

    let state = folder.path().join("trimtab.db");
    let state = state.to_str().expect("a plain path");
    let history = trimtab(&["history", "--state", state, "--output", "json"]).output();
    let history: Value = serde_json::from_slice(&history.expect("runs").stdout).expect("JSON");
    let actions = history["actions"].as_array().expect("actions");
    assert_eq!(actions.len(), 3);

    let ticks: Vec<&Value> = lines.iter().filter(|l| l["target"] == "trimtab::tick").collect();
    for tick in &ticks {
        assert_eq!(tick["level"], "INFO");
        for key in ["tick", "cluster", "at", "mode", "policy", "open", "marks"] {
            assert!(!tick[key].is_null(), "{key}: {tick}");
        }
    }
    let numbers: Vec<u64> = ticks.iter().map(|tick| tick["tick"].as_u64().expect("id")).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "one a tick: {numbers:?}");

    let mut steps: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for line in lines.iter().filter(|l| l["target"] == "trimtab::action") {
        let decision = line["decision"].as_str().expect("a decision");
        for key in ["tick", "cluster", "group", "node", "at", "mode"] {
            assert!(!line[key].is_null(), "{key}: {line}");
        }
        if let Some(action) = line["action"].as_u64() {
            assert!(!line["policy"].is_null(), "{line}");
            assert!(numbers.contains(&line["tick"].as_u64().expect("an id")), "{line}");
            let row = actions.iter().find(|row| row["id"] == action).expect("in the ledger");
            assert_eq!(row["node"], line["node"]);
            if ["delete", "outcome"].contains(&decision) {
                assert!(line["request"].as_u64() > Some(0), "{line}");
            }
            steps.entry(action).or_default().push(decision);
        } else {
            assert_eq!(line["level"], "DEBUG", "{line}");
            assert!(["keep", "leaving"].contains(&decision) && !line["reason"].is_null(), "{line}");
        }
    }
    assert_eq!(steps.len(), 3);
    for told in steps.values() {
        assert_eq!(told, &["mark", "cordon", "settle", "delete", "outcome", "end"]);
    }
}

#[test]
fn what_an_experiment_does_goes_to_stdout_and_its_log_is_silent() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let run = trimtab(&["run", "--once", "--config", &config, "--world", WORLD]).output();
    assert_eq!(text(&run.expect("the program starts").stderr), "");
}

#[test]
fn a_level_that_makes_no_sense_exits_78_and_says_what_to_write() {
    let output = trimtab(&["demo"]).env("TRIMTAB_LOG", "inof").output().expect("it starts");
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("TRIMTAB_LOG=`inof`"), "{}", text(&output.stderr));
}

#[test]
fn signals_turn_debug_on_and_off_and_write_the_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let mut run = trimtab(&["run", "--real-time", "--config", &config, "--world", WORLD]);
    let service = Service::start(&mut run);
    // The first tick comes at once, not with the schedule.
    let tick = service.line(|line| line["target"] == "trimtab::tick");
    tell(&service.process, "-USR2");
    service.line(|line| line["message"] == "SIGUSR2: debug is on");
    tell(&service.process, "-USR1");
    let last = service.line(|line| line["message"] == "last tick");
    assert_eq!(last["tick"], tick["tick"]);
    assert_eq!(last["cluster"], "simulated");
    let status = service.line(|line| line["message"] == "status");
    assert_eq!(status["ready"], true);
    tell(&service.process, "-USR2");
    let off = service.line(|line| line["message"] == "SIGUSR2: debug is off");
    assert_eq!(off["level"], "INFO");
}

// ---- notifications to systemd ----

/// A notification socket of a service manager.
struct Ear {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Ear {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self { socket, heard: vec![] }
    }

    /// Waits for a line with this beginning and returns it.
    fn hear(&mut self, beginning: &str) -> String {
        let mut buffer = [0; 8192];
        loop {
            if let Some(at) = self.heard.iter().position(|line| line.starts_with(beginning)) {
                let line = self.heard.remove(at);
                self.heard.drain(..at);
                return line;
            }
            let length = self.socket.recv(&mut buffer).expect("a notification in time");
            self.heard.extend(text(&buffer[..length]).lines().map(str::to_owned));
        }
    }
}

#[test]
fn systemd_hears_ready_after_the_first_tick_then_of_life_and_at_last_of_the_stop() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let path = folder.path().join("notify");
    let mut ear = Ear::at(&path);
    let mut run = trimtab(&["run", "--real-time", "--config", &config, "--world", WORLD]);
    run.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "60000");
    let mut service = Service::start(&mut run);
    let first = ear.hear("STATUS=");
    assert_eq!(first, "STATUS=waiting for the first tick of simulated");
    ear.hear("READY=1");
    let status = ear.hear("STATUS=simulated at 2026-03-02T00:00:00");
    assert!(status.ends_with("13 nodes, 0 leaving"), "{status}");
    // The schedule rings every few minutes, so these pings come from the wait of the loop.
    for _ in 0..5 {
        ear.hear("WATCHDOG=1");
    }
    tell(&service.process, "-TERM");
    ear.hear("STOPPING=1");
    let ended = service.process.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn a_stopped_process_says_nothing_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let path = folder.path().join("notify");
    let mut ear = Ear::at(&path);
    let mut run = trimtab(&["run", "--real-time", "--config", &config, "--world", WORLD]);
    run.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "60000");
    let service = Service::start(&mut run);
    ear.hear("READY=1");
    tell(&service.process, "-STOP");
    // Notifications already sent may still arrive. After that, the socket must be silent for ten
    // times the ping interval.
    ear.socket.set_read_timeout(Some(Duration::from_millis(200))).expect("set");
    let mut buffer = [0; 8192];
    let after = (0..1000).take_while(|_| ear.socket.recv(&mut buffer).is_ok()).count();
    assert!(after < 100, "{after} notifications after SIGSTOP");
    tell(&service.process, "-CONT");
    ear.socket.set_read_timeout(Some(PATIENCE)).expect("set");
    ear.heard.clear();
    ear.hear("WATCHDOG=1");
}

// ---- uncordon ----

#[test]
fn uncordon_with_nothing_open_needs_no_world_and_exits_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let uncordon = || trimtab(&["uncordon", "--config", &config]).output().expect("it runs");
    let state = folder.path().join("trimtab.db");
    for there_is_a_ledger in [false, true] {
        let output = uncordon();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "no cordoned nodes to release\n");
        assert_eq!(state.exists(), there_is_a_ledger, "it makes no ledger");
        let once = trimtab(&["run", "--once", "--config", &config, "--world", WORLD]).output();
        assert_eq!(once.expect("it runs").status.code(), Some(0));
    }
    let json = trimtab(&["uncordon", "--config", &config, "--output", "json"]).output();
    let json: Value = serde_json::from_slice(&json.expect("it runs").stdout).expect("JSON");
    assert_eq!(json["schema_version"], 1);
    assert_eq!(json["not_released"], Value::Array(vec![]));
}

#[test]
fn uncordon_beside_a_living_daemon_says_so_and_exits_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text);
    let mut run = trimtab(&["run", "--real-time", "--config", &config, "--world", WORLD]);
    let service = Service::start(&mut run);
    service.line(|line| line["target"] == "trimtab::tick");
    let output = trimtab(&["uncordon", "--config", &config]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    let said = text(&output.stdout);
    let holder = format!("trimtab is running (pid {} ", service.process.id());
    assert!(said.starts_with(&holder), "{said}");
}

#[test]
fn uncordon_with_a_bad_configuration_exits_78() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = policy(folder.path(), |text| text.replace("min_nodes", "min_node"));
    let output = trimtab(&["uncordon", "--config", &config]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(78));
}

// ---- the unit ----

fn unit() -> String {
    let unit = std::fs::read_to_string(root().join("systemd/trimtab.service"));
    unit.expect("the unit is there")
}

/// Returns `systemd-analyze`, or reports a skipped test.
fn analyze() -> Option<Command> {
    let there = Command::new("systemd-analyze").arg("--version").output().is_ok();
    if !there {
        skipped("systemd-analyze is not installed (apt-get install systemd)");
    }
    there.then(|| Command::new("systemd-analyze"))
}

#[test]
fn systemd_finds_nothing_to_say_about_the_unit() {
    let Some(mut analyze) = analyze() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // The program must exist at the path in the unit.
    let here = unit().replace("/usr/bin/trimtab", env!("CARGO_BIN_EXE_trimtab"));
    let path = folder.path().join("trimtab.service");
    std::fs::write(&path, here).expect("written");
    // The drop-in may change the user, but no restriction.
    let drop_in = "trimtab.service.d/slurm-user.conf";
    let more = std::fs::read_to_string(root().join("systemd").join(drop_in)).expect("it is there");
    let changes = more.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    for change in changes {
        let key = change.split('=').next();
        assert!(matches!(key, Some("User" | "Group" | "InaccessiblePaths")), "{change}");
    }
    std::fs::create_dir(folder.path().join("trimtab.service.d")).expect("made");
    std::fs::write(folder.path().join(drop_in), more).expect("written");
    let output = analyze.arg("verify").arg(&path).output().expect("it runs");
    // Unknown keys and bad values are only warnings. Ignore warnings about other units.
    let about_us: Vec<&str> =
        text(&output.stderr).lines().filter(|line| line.contains("trimtab")).collect();
    assert_eq!(about_us, Vec::<&str>::new());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_unit_exposes_little() {
    let Some(mut analyze) = analyze() else { return };
    let unit = root().join("systemd/trimtab.service");
    let output = analyze.args(["security", "--offline=true", EXPOSURE]).arg(unit).output();
    let output = output.expect("it runs");
    assert!(text(&output.stdout).contains("Overall exposure level"), "{}", text(&output.stderr));
    let verdict = text(&output.stdout).lines().last().expect("a verdict");
    assert_eq!(output.status.code(), Some(0), "{verdict}");
}

#[test]
fn every_command_of_the_unit_is_one_of_ours() {
    let unit = unit();
    let commands: Vec<&str> =
        unit.lines().filter_map(|line| Some(line.split_once("=/usr/bin/trimtab ")?.1)).collect();
    assert_eq!(commands.len(), 3);
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        let help = trimtab(&[words[0], "--help"]).output().expect("it runs");
        assert_eq!(help.status.code(), Some(0), "{command}");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(text(&help.stdout).contains(flag), "{command}");
        }
    }
    // No key that the oldest supported systemd does not know.
    for key in ["notify-reload", "RestartSteps", "RestartMode", "ExtraFileDescriptor"] {
        assert!(!unit.contains(key), "{key}");
    }
}

/// Serializes the tests with a manager: managers that systemd did not start share one tree of
/// control groups.
static ONE_MANAGER: Mutex<()> = Mutex::new(());

/// A `systemd --user` for a test, with its files in a temporary folder.
struct Manager {
    process: Child,
    folder: tempfile::TempDir,
    /// Name of the unit, unique per process for the same reason.
    unit: String,
    _alone: MutexGuard<'static, ()>,
}

impl Manager {
    /// Starts the manager; returns `None` and reports a skipped test if that is not possible.
    fn start() -> Option<Self> {
        let program = ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"];
        let Some(program) = program.iter().find(|path| Path::new(path).exists()) else {
            skipped("systemd is not installed (apt-get install systemd)");
            return None;
        };
        let alone = ONE_MANAGER.lock().unwrap_or_else(PoisonError::into_inner);
        // Without this folder, it assumes a machine without systemd.
        if std::fs::create_dir_all("/run/systemd/system").is_err() {
            skipped("/run/systemd/system is not there and cannot be made (run as root)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        for sub in ["run", "home/.config/systemd/user"] {
            let path = folder.path().join(sub);
            std::fs::create_dir_all(&path).expect("made");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("set");
        }
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = Command::new(program);
        command.arg("--user").stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file")).stderr(log);
        let process = at_home(&mut command, folder.path()).spawn().expect("it starts");
        let unit = format!("trimtab-test-{}.service", std::process::id());
        let manager = Self { process, folder, unit, _alone: alone };
        let up = manager.wait_for(|manager| {
            let output = manager.systemctl(&["is-system-running"]);
            ["running", "degraded"].contains(&text(&output.stdout).trim())
        });
        if !up {
            let log = std::fs::read_to_string(manager.folder.path().join("log"));
            skipped(&format!("systemd --user does not come up here: {}", log.unwrap_or_default()));
            return None;
        }
        Some(manager)
    }

    fn systemctl(&self, args: &[&str]) -> Output {
        let mut command = Command::new("systemctl");
        command.arg("--user").args(args).stdin(Stdio::null());
        at_home(&mut command, self.folder.path()).output().expect("systemctl runs")
    }

    /// Installs the unit, changed so that it works here.
    fn install(&self, unit: &str) {
        let units = self.folder.path().join("home/.config/systemd/user");
        std::fs::write(units.join(&self.unit), unit).expect("written");
        assert!(self.systemctl(&["daemon-reload"]).status.success());
    }

    fn show(&self, property: &str) -> String {
        let output = self.systemctl(&["show", &self.unit, "--value", "-p", property]);
        text(&output.stdout).trim().to_owned()
    }

    fn number(&self, property: &str) -> u64 {
        self.show(property).parse().expect("a number")
    }

    fn wait_for(&self, holds: impl Fn(&Self) -> bool) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if holds(self) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Returns the logs of the unit and of the manager.
    fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.folder.path().join(name));
        let log = |name| read(name).unwrap_or_default();
        format!("{}\n{}", log("trimtab.log"), log("log"))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.systemctl(&["stop", &self.unit]);
        // `exit` stops the units that it started.
        self.systemctl(&["exit"]);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && matches!(self.process.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Succeeds only if the folder is empty, so not on a machine that runs systemd.
        let _ = std::fs::remove_dir("/run/systemd/system");
    }
}

fn at_home<'a>(command: &'a mut Command, folder: &Path) -> &'a mut Command {
    for variable in ["NOTIFY_SOCKET", "DBUS_SESSION_BUS_ADDRESS", "TRIMTAB_LOG"] {
        command.env_remove(variable);
    }
    command
        .env("HOME", folder.join("home"))
        .env("XDG_CONFIG_HOME", folder.join("home/.config"))
        .env("XDG_RUNTIME_DIR", folder.join("run"))
}

/// Keys of the shipped unit that only a system manager supports, or that would hide the files of
/// the test.
const NOT_FOR_A_USER: [&str; 17] = [
    "User",
    "Group",
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "PrivateUsers",
    "ProtectSystem",
    "ProtectHome",
    "PrivateTmp",
    "PrivateMounts",
    "PrivateDevices",
    "DevicePolicy",
    "ProtectProc",
    "ProcSubset",
    "ProtectHostname",
    "ProtectKernelLogs",
    "ProtectKernelModules",
    "ProtectKernelTunables",
];

/// The shipped unit on a simulated world, with these keys in place of its own.
fn unit_here(folder: &Path, config: &str, keys: &[(&str, &str)]) -> String {
    let world = root().join(WORLD);
    let on_world = format!("--config {config} --world {}", world.display());
    let log = folder.join("trimtab.log");
    let mut text = String::new();
    for line in unit().lines() {
        let key = line.split_once('=').map_or("", |(key, _)| key);
        let also = ["ProtectClock", "ProtectControlGroups", "WantedBy"];
        if NOT_FOR_A_USER.contains(&key) || also.contains(&key) {
            continue;
        }
        let line = match keys.iter().find(|(other, _)| *other == key) {
            Some((_, value)) => format!("{key}={value}"),
            None => line.to_owned(),
        };
        let line = line
            .replace("/usr/bin/trimtab", env!("CARGO_BIN_EXE_trimtab"))
            .replace("--config /etc/trimtab/trimtab.toml", &on_world)
            .replace("/etc/trimtab/trimtab.toml", config);
        text += &line;
        if key == "ExecStart" {
            text += " --real-time";
        }
        text += "\n";
        if line == "[Service]" {
            text += &format!("StandardError=append:{}\n", log.display());
            text += &format!("StandardOutput=append:{}\n", log.display());
        }
    }
    text
}

#[test]
fn a_real_systemd_starts_watches_and_stops_it() {
    let Some(manager) = Manager::start() else { return };
    let folder = manager.folder.path().to_owned();
    let config = policy(&folder, |text| text);
    // The schedule rings every two minutes; the watchdog times out after five seconds.
    let keys = [("WatchdogSec", "5s"), ("RestartSec", "1h"), ("TimeoutStopSec", "20s")];
    manager.install(&unit_here(&folder, &config, &keys));

    let start = manager.systemctl(&["start", &manager.unit]);
    assert!(start.status.success(), "{}\n{}", text(&start.stderr), manager.log());
    // `systemctl start` returned after READY=1, which follows the first tick.
    assert_eq!(manager.show("SubState"), "running");
    let status = manager.show("StatusText");
    assert!(status.starts_with("simulated at 2026-03-02T00:00:00"), "{status}");
    assert!(status.ends_with("13 nodes, 0 leaving"), "{status}");
    assert!(manager.log().contains("trimtab::tick"), "{}", manager.log());

    // A loop that only waits pings the watchdog for longer than its timeout.
    let since = manager.number("ActiveEnterTimestampMonotonic");
    let fed = manager.wait_for(|m| m.number("WatchdogTimestampMonotonic") > since + 11_000_000);
    assert!(fed && manager.show("SubState") == "running", "{}", manager.log());

    assert!(manager.systemctl(&["stop", &manager.unit]).status.success());
    assert_eq!(manager.show("Result"), "success", "{}", manager.log());
    assert_eq!(manager.show("ExecMainStatus"), "0");
    assert!(manager.show("ExecStopPost").contains("status=0"), "{}", manager.show("ExecStopPost"));
    assert!(manager.log().contains("no cordoned nodes to release"), "{}", manager.log());

    // systemd kills a loop without progress and then runs `trimtab uncordon`.
    assert!(manager.systemctl(&["start", &manager.unit]).status.success());
    let main = manager.show("MainPID");
    let stopped = Command::new("kill").args(["-STOP", &main]).status();
    assert!(stopped.expect("kill runs").success());
    let bitten = manager.wait_for(|m| m.show("Result") == "watchdog");
    assert!(bitten, "{} {}", manager.show("Result"), manager.log());
    let waits = manager.wait_for(|m| m.show("SubState") == "auto-restart");
    assert!(waits, "{}", manager.show("SubState"));
    assert!(manager.show("ExecStopPost").contains("status=0"), "{}", manager.show("ExecStopPost"));
}

#[test]
fn a_real_systemd_gives_up_on_a_configuration_that_makes_no_sense() {
    let Some(manager) = Manager::start() else { return };
    let folder = manager.folder.path().to_owned();
    let config = policy(&folder, |text| text.replace("min_nodes", "min_node"));
    manager.install(&unit_here(&folder, &config, &[("RestartSec", "50ms")]));
    let start = manager.systemctl(&["start", &manager.unit]);
    assert!(!start.status.success());
    assert!(manager.log().contains("did you mean `min_nodes`?"), "{}", manager.log());
    let failed = manager.wait_for(|m| m.show("ActiveState") == "failed");
    assert!(failed, "{}", manager.show("SubState"));
    assert_eq!(manager.number("NRestarts"), 5);
}
