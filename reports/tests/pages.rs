//! Pages from sample results: they carry the figures, name what is missing, fetch nothing; and broken input is named with its place.

use std::path::Path;

use synod_reports::{ReportError, Results, write_pages};

const PEERS: &str = r#"{
  "machine": {"processor": "Test CPU <9000>", "cores": 2, "pinned": {"sender": 0, "receiver": 1}, "kernel": "Linux 6.1",
              "versions": [["rtrb", "0.3.2"], ["crossbeam-channel", "0.5.15"]]},
  "rows": [
    {"group": "throughput", "subject": "synod ring", "size_bytes": 64, "mode": "batch 16", "metric": "messages", "unit": "M/s",
     "median": 41.25, "low": 39.5, "high": 43.0, "rounds": 15},
    {"group": "throughput", "subject": "rtrb chunks", "size_bytes": 64, "mode": "batch 16", "metric": "messages", "unit": "M/s",
     "median": 37.5, "low": 36.0, "high": 38.0, "rounds": 15},
    {"group": "throughput", "subject": "synod ring", "size_bytes": 64, "mode": "batch 16", "metric": "messages / rtrb chunks",
     "unit": "x", "median": 1.09, "low": 1.04, "high": 1.13, "rounds": 15},
    {"group": "round trip", "subject": "synod ring", "size_bytes": 1024, "mode": "spinning", "metric": "p50", "unit": "ns",
     "median": 213.0, "low": 209.0, "high": 221.0, "rounds": 15},
    {"group": "round trip", "subject": "synod ring", "size_bytes": 1024, "mode": "spinning", "metric": "p99", "unit": "ns",
     "median": 409.0, "low": 401.0, "high": 420.0, "rounds": 15},
    {"group": "round trip", "subject": "synod ring", "size_bytes": 1024, "mode": "spinning", "metric": "p99.9", "unit": "ns",
     "median": 91234.0, "low": 90001.0, "high": 99999.0, "rounds": 15},
    {"group": "a-large", "subject": "synod publish", "size_bytes": 4096, "mode": "by name", "metric": "time", "unit": "ns",
     "median": 1250.0, "low": 1200.0, "high": 1300.0, "rounds": 15},
    {"group": "a-large", "subject": "synod publish", "size_bytes": 1048576, "mode": "by name", "metric": "time", "unit": "ns",
     "median": 1310.0, "low": 1300.0, "high": 1320.0, "rounds": 15},
    {"group": "a-large", "subject": "two copies", "size_bytes": 4096, "mode": "by name", "metric": "time", "unit": "ns",
     "median": 900.0, "low": 880.0, "high": 910.0, "rounds": 15},
    {"group": "a-large", "subject": "two copies", "size_bytes": 1048576, "mode": "by name", "metric": "time", "unit": "ns",
     "median": 1300.0, "low": 1290.0, "high": 130000.0, "rounds": 15}
  ],
  "observations": [
    {"group": "idle", "subject": "synod, 64 agents", "size_bytes": 0, "mode": "20 processes", "metric": "wake-ups of all", "unit": "1/s",
     "median": 0.6, "low": 0.6, "high": 0.6, "rounds": 1}
  ],
  "unavailable": [{"group": "round trip", "subject": "iceoryx2", "needs": "libclang"}]
}"#;

const SWEEP: &str = r#"{
  "kind": "sweep", "verdict": "fail", "seed_from": 31, "jobs": 2, "seconds": 61.5, "canary_seen": true,
  "holes": ["fabric.route_refreshed"],
  "scenarios": [
    {"scenario": "node-killed-amid-publishes", "seeds": 43, "pass": 40, "fail": 2, "unknown": 1, "repeated": 6, "differed": 0,
     "sim_seconds": 1260.0, "wall_seconds": 20.0, "unmet": ["net.reset_by_crash: 0 of 3"], "reach": {"net.connection_reset": 1200}},
    {"scenario": "flood", "seeds": 38, "pass": 38, "fail": 0, "unknown": 0, "repeated": 6, "differed": 0,
     "sim_seconds": 1140.0, "wall_seconds": 21.0, "unmet": [], "reach": {"net.connection_reset": 34}}
  ],
  "failures": [{"scenario": "node-killed-amid-publishes", "seed": 77, "folder": "results/chaos/a/77",
                "violations": [{"oracle": "accounting", "kind": "safety", "what": "3 of 400 are missing"}]}],
  "unsupported": [["pull-the-plug", ["faults on real power"]]]
}"#;

const PLANTS: &str = r#"{"kind": "plants", "seeds": 200, "twin_alarms": 1, "plants": [
  {"plant": "breaker.half-open-stampede", "wrong": "probes are counted late", "result": "caught", "seeds": 200, "reached": 199,
   "caught": 187, "median_seeds": 1.0, "oracles": {"breaker.half_open": 187}, "expected": ["breaker.half_open"],
   "as_expected": true},
  {"plant": "fabric.stale-route", "wrong": "a route survives", "result": "not reached", "seeds": 200, "reached": 0, "caught": 0,
   "median_seeds": null, "oracles": {}, "expected": ["liveness.delivered"], "as_expected": false},
  {"plant": "disk.ack-before-sync", "wrong": "acknowledged early", "result": "survived", "seeds": 200, "reached": 150, "caught": 0,
   "median_seeds": null, "oracles": {}, "expected": ["disk.durable"], "as_expected": false},
  {"plant": "ring.wrap-around", "wrong": "no padding", "result": "scored by cargo loom", "seeds": 0, "reached": 0, "caught": 0,
   "median_seeds": null, "oracles": {}, "expected": ["a_lap_ends_well"], "as_expected": false}
]}"#;

fn run(scenario: &str, seed: u64, verdict: &str, violations: &str) -> String {
    format!(
        r#"{{"scenario": "{scenario}", "seed": {seed}, "engine": "sim", "verdict": "{verdict}", "violations": {violations},
        "trace_hash": "0123456789abcdef0123456789abcdef", "events": 48211, "sim_seconds": 60.0, "wall_seconds": 0.5,
        "reach": {{"net.window_full": 3, "disk.torn": 0}}, "losses": {{"net.datagram: nobody listens there": 2}}}}"#
    )
}

/// A folder with every kind of result.
fn everything(folder: &Path) {
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("results/peers.json", PEERS);
    put("results/chaos.json", SWEEP);
    put("results/plants.json", PLANTS);
    put("results/runs/a.json", &run("failover", 7, "pass", "[]"));
    let seen = r#"[{"oracle": "accounting", "kind": "safety", "what": "id 9 <lost> & \"gone\""}]"#;
    put("results/runs/b.json", &run("failover", 8, "fail", seen));
    put("results/runs/c.json", &run("power-loss", 7, "unknown", "[]"));
    put("results/notes.json", r#"{"hello": "world"}"#);
    put("results/trace.txt", "not JSON, and not asked to be");
    let of = "criterion/crc32c/ours/4096/new";
    put(
        &format!("{of}/benchmark.json"),
        r#"{"group_id": "crc32c", "function_id": "ours", "value_str": "4096", "throughput": {"Bytes": 4096}}"#,
    );
    put(
        &format!("{of}/estimates.json"),
        r#"{"median": {"confidence_interval": {"confidence_level": 0.95, "lower_bound": 199.0, "upper_bound": 207.5},
            "point_estimate": 204.8, "standard_error": 1.0}}"#,
    );
    put("criterion/crc32c/ours/4096/base/benchmark.json", "{}");
}

fn pages(folder: &Path) -> Result<[String; 4], ReportError> {
    let results = Results::read(&folder.join("results"), &folder.join("criterion"))?;
    let out = folder.join("out");
    let written = write_pages(&results, &out)?;
    assert_eq!(written.len(), 4);
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    Ok(["index.html", "benchmarks.html", "scenarios.html", "chaos.html"].map(read))
}

fn assert_all(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "no `{text}` in:\n{page}");
    }
}

#[test]
fn the_figures_of_every_source_stand_on_their_page() {
    let folder = tempfile::tempdir().unwrap();
    everything(folder.path());
    let [index, benchmarks, scenarios, chaos] = pages(folder.path()).unwrap();
    assert_all(
        &index,
        &["3 scenario runs", "1 failed", "1 of 3 caught", "1.09× [1.04 … 1.13]", "notes.json"],
    );
    assert_all(
        &benchmarks,
        &[
            "Test CPU &lt;9000&gt;",
            "rtrb 0.3.2",
            "messages / rtrb chunks",
            "<td class=\"n\">41.2</td>",
            "<td class=\"n\">213</td>",
            "idle, seen once: wake-ups of all",
            "iceoryx2: unavailable: needs libclang.",
            "throughput, 64 B, batch 16: messages",
            "round trip, 1 KiB, spinning: p50 to p99.9",
            "213 ns … 91.2 µs",
            "100 µs",
            "a-large, by name: time against size",
            "synod publish 1.31 µs",
            "two copies 1.30 µs",
            "ours 4096",
            "205 ns",
            "20.0 GB/s",
        ],
    );
    assert_all(
        &scenarios,
        &[
            "failover",
            "power-loss",
            "id 9 &lt;lost&gt; &amp; &quot;gone&quot;",
            "0123456789abcdef",
            "disk.torn",
            "never",
        ],
    );
    assert_all(
        &chaos,
        &[
            "fabric.route_refreshed",
            "accounting: 3 of 400 are missing",
            "cargo chaos replay results/chaos/a/77",
            "187 of 200",
            "not reached",
            "survived",
            "1\u{202f}234",
            "net.reset_by_crash: 0 of 3",
            "faults on real power",
            "scored by cargo loom",
            "<td class=\"bad\">1</td>",
        ],
    );
}

#[test]
fn every_plot_names_what_it_shows_and_holds_its_figures_in_the_pages_colours() {
    let folder = tempfile::tempdir().unwrap();
    everything(folder.path());
    let [_, benchmarks, scenarios, chaos] = pages(folder.path()).unwrap();
    for (page, plots) in [(&benchmarks, 6), (&scenarios, 2), (&chaos, 2)] {
        assert_eq!(page.matches("<svg class=\"plot\"").count(), plots);
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("#0102"), "a marker colour was left");
        assert_all(page, &["currentColor"]);
    }
    assert_all(&benchmarks, &["var(--ours)", "var(--theirs)", "rtrb chunks"]);
    assert_all(&chaos, &["var(--good)", "var(--bad)", "<title>Seeds that caught each planted bug</title>"]);
}

#[test]
fn pages_fetch_nothing() {
    let folder = tempfile::tempdir().unwrap();
    everything(folder.path());
    for page in pages(folder.path()).unwrap() {
        for fetch in ["<script", "<link", "<img", "url(", "@import", "src=", "https://"] {
            assert!(!page.contains(fetch), "{fetch}");
        }
        // The one address is the name of SVG's vocabulary, which nobody fetches.
        let addresses = page.matches("http://").count();
        assert_eq!(addresses, page.matches("http://www.w3.org/2000/svg").count());
    }
}

#[test]
fn nothing_found_is_said_and_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let [index, benchmarks, scenarios, chaos] = pages(folder.path()).unwrap();
    assert_all(&index, &["missing", "cargo peers --json", "cargo chaos plant --all"]);
    assert_all(&benchmarks, &["Missing: measurements beside peers", "Missing: criterion estimates"]);
    assert_all(&scenarios, &["Missing: scenario runs"]);
    assert_all(&chaos, &["Missing: a chaos sweep", "Missing: scores of planted bugs"]);
}

#[test]
fn the_same_results_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    everything(folder.path());
    assert_eq!(pages(folder.path()).unwrap(), pages(folder.path()).unwrap());
}

#[test]
fn broken_json_is_named_with_its_file_and_place() {
    let broken = [
        ("{\n  \"rows\": [\n    {\"group\": \"x\",\n", "EOF", "line 4"),
        ("{\"rows\": [{\"group\": \"x\",\n \"subject\": 7}]}", "expected a string", "line 2 column 13"),
        ("{\"plants\":\n [{\"plant\": \"x\"}]}", "missing field `result`", "line 2"),
        ("{\"scenario\": \"x\", \"trace_hash\": \"y\",\n\"seed\": -1}", "expected u64", "line 2 column 10"),
    ];
    for (text, what, place) in broken {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("results")).unwrap();
        std::fs::write(folder.path().join("results/bad.json"), text).unwrap();
        let error = pages(folder.path()).unwrap_err().to_string();
        assert_all(&error, &["results/bad.json", what, place]);
    }
}

#[test]
fn an_estimate_without_its_figures_is_named() {
    let folder = tempfile::tempdir().unwrap();
    everything(folder.path());
    std::fs::remove_file(folder.path().join("criterion/crc32c/ours/4096/new/estimates.json")).unwrap();
    let error = pages(folder.path()).unwrap_err().to_string();
    assert_all(&error, &["crc32c/ours/4096/new/estimates.json"]);
}

#[test]
fn names_at_the_ends_of_lines_do_not_cover_each_other_even_where_the_lines_meet() {
    let folder = tempfile::tempdir().unwrap();
    everything(folder.path());
    let [_, benchmarks, ..] = pages(folder.path()).unwrap();
    let height = |name: &str| {
        let before = &benchmarks[..benchmarks.find(name).unwrap()];
        let text = &before[before.rfind("<text").unwrap()..];
        let y = text.split(" y=\"").nth(1).unwrap().split('"').next().unwrap();
        y.parse::<i32>().unwrap()
    };
    let (above, below) = (height("synod publish 1.31"), height("two copies 1.30"));
    assert!(below - above >= 14, "one at {above}, the other at {below}");
}
