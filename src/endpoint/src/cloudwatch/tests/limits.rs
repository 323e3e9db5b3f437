//! GetMetricData: validation, time ranges and pages.

use serde_json::{Value as Json, json};
use trimtab_core::units::{Span, Time};

use super::{Service, between, dimensions, mixed, query};

const HOUR: Span = Span::hours(1);

/// A service with one series 0, 1, 2, …, one value per minute, that ends one minute before
/// the current time; and the time of its first value.
fn counting(minutes: i64) -> (Service, Time) {
    let world = mixed(Span::hours(6));
    let start = world.now() - Span::mins(minutes);
    let service = Service::of(&world);
    for first in (0..minutes).step_by(1_000) {
        let data: Vec<Json> = (first..minutes.min(first + 1_000))
            .map(|n| {
                let at = (start + Span::mins(n)).as_secs();
                json!({ "MetricName": "n", "Value": n, "Timestamp": at })
            })
            .collect();
        let input = json!({ "Namespace": "own", "MetricData": data });
        service.call("PutMetricData", &input).expect("kept");
    }
    (service, start)
}

trait Seconds {
    fn as_secs(&self) -> i64;
}

impl Seconds for Time {
    fn as_secs(&self) -> i64 {
        self.0.div_euclid(1000)
    }
}

fn counted(id: &str) -> Json {
    query(id, "own", "n", &json!([]), "Sum")
}

fn refusal(service: &Service, input: &Json) -> String {
    let (code, message) = service.call("GetMetricData", input).expect_err("refused");
    assert_eq!(code, "ValidationException", "{message}");
    message
}

#[test]
fn five_hundred_queries_are_answered_and_one_more_is_refused() {
    let (service, start) = counting(5);
    let queries = |n: usize| (0..n).map(|n| counted(&format!("q{n}"))).collect();
    let input = between(start, start + HOUR, queries(500));
    let answer = service.call("GetMetricData", &input).expect("data");
    let results = answer["MetricDataResults"].as_array().expect("a list");
    assert_eq!(results.len(), 500);
    assert!(results.iter().all(|result| result["StatusCode"] == "Complete"));
    assert_eq!(
        refusal(&service, &between(start, start + HOUR, queries(501))),
        "The collection MetricDataQueries must not have a size greater than 500."
    );
    let none = between(start, start + HOUR, vec![]);
    assert_eq!(refusal(&service, &none), "The parameter MetricDataQueries is required.");
}

#[test]
fn wrong_requests_are_refused_with_what_is_wrong() {
    let (service, start) = counting(5);
    let good = || between(start, start + HOUR, vec![counted("q")]);
    let with = |change: &dyn Fn(&mut Json)| {
        let mut input = good();
        change(&mut input);
        refusal(&service, &input)
    };
    let of_query = |pointer: &str, value: Json| {
        with(&|input: &mut Json| {
            let at = format!("/MetricDataQueries/0{pointer}");
            *input.pointer_mut(&at).expect("there") = value.clone();
        })
    };
    let equal = with(&|input| input["EndTime"] = input["StartTime"].clone());
    assert_eq!(equal, "The parameter StartTime must not equal parameter EndTime.");
    let backwards = with(&|input| input["EndTime"] = json!(0));
    assert_eq!(backwards, "The parameter StartTime must be less than the parameter EndTime.");
    let endless = with(&|input| input["EndTime"] = Json::Null);
    assert_eq!(endless, "The parameter EndTime is required.");
    for id in ["", "A", "1a", "a-b", "aé", &"a".repeat(256)] {
        assert!(of_query("/Id", json!(id)).contains("^[a-z][a-zA-Z0-9_]*$"), "{id}");
    }
    let twice = between(start, start + HOUR, vec![counted("q"), counted("q")]);
    assert!(refusal(&service, &twice).contains("not unique: q"));
    for period in [0, -60, 2, 15, 59, 61, 90] {
        let message = of_query("/MetricStat/Period", json!(period));
        assert!(message.contains("must be 1, 5, 10, 20, 30 or a multiple of 60"), "{period}");
    }
    for stat in ["Max", "p", "p101", ""] {
        let message = of_query("/MetricStat/Stat", json!(stat));
        assert!(message.contains("not a valid statistic"), "{stat}: {message}");
    }
    assert!(of_query("/MetricStat/Metric/MetricName", Json::Null).ends_with("is required."));
    assert!(of_query("/MetricStat/Metric/Namespace", json!(":x")).contains("invalid"));
    let twice = dimensions(&[("a", "b"), ("a", "c")]);
    assert!(of_query("/MetricStat/Metric/Dimensions", twice).contains("twice"));
    let many: Json = (0..31).map(|n| json!({ "Name": n.to_string(), "Value": "x" })).collect();
    assert!(of_query("/MetricStat/Metric/Dimensions", many).contains("greater than 30"));
    assert!(with(&|input| input["ScanBy"] = json!("Newest")).contains("ScanBy"));
    for max in [0, -1, 100_801] {
        assert!(with(&|input| input["MaxDatapoints"] = json!(max)).contains("1 to 100800"));
    }
    let hidden = with(&|input| input["MetricDataQueries"][0]["ReturnData"] = json!(false));
    assert!(hidden.contains("ReturnData true"));
    let unit = with(&|input| input["MetricDataQueries"][0]["MetricStat"]["Unit"] = json!("Parsec"));
    assert!(unit.contains("must be a value in the set"));
    let expression = json!({ "Id": "e", "Expression": "METRICS()" });
    let mixed_up = between(start, start + HOUR, vec![counted("q"), expression]);
    assert_eq!(
        refusal(&service, &mixed_up),
        "MetricDataQueries.member.2.Expression: this endpoint supports MetricStat queries only, not expressions."
    );
    let tolerated = with_options(good());
    assert!(service.call("GetMetricData", &tolerated).is_ok());
    let far = json!({ "StartTime": 1e12, "EndTime": 1e13, "MetricDataQueries": [counted("q")] });
    let (code, _) = service.call("GetMetricData", &far).expect_err("no such time");
    assert_eq!(code, "SerializationException");
}

fn with_options(mut input: Json) -> Json {
    input["LabelOptions"] = json!({ "Timezone": "+0130" });
    input["MetricDataQueries"][0]["Label"] = json!("mine");
    input["MetricDataQueries"][0]["AccountId"] = json!("123456789012");
    input
}

#[test]
fn values_come_newest_first_unless_asked_otherwise_and_the_end_is_excluded() {
    let (service, start) = counting(5);
    let mut input = between(start + Span::mins(1), start + Span::mins(4), vec![counted("q")]);
    let values = |input: &Json| {
        let answer = service.call("GetMetricData", input).expect("data");
        answer["MetricDataResults"][0]["Values"].clone()
    };
    assert_eq!(values(&input), json!([3.0, 2.0, 1.0]));
    input["ScanBy"] = json!("TimestampAscending");
    assert_eq!(values(&input), json!([1.0, 2.0, 3.0]));
    let answer = service.call("GetMetricData", &input).expect("data");
    let result = &answer["MetricDataResults"][0];
    assert_eq!(result["Timestamps"][0], json!((start + Span::mins(1)).as_secs()));
    assert_eq!(result["Label"], "n", "the metric's name where no label is given");
    // A period is included if StartTime or EndTime lies inside it.
    let cut = between(start + Span::secs(90), start + Span::secs(190), vec![counted("q")]);
    assert_eq!(values(&cut), json!([3.0, 2.0, 1.0]));
}

#[test]
fn longer_periods_sum_up_and_are_counted_from_the_epoch() {
    let (service, start) = counting(30);
    let mut five = counted("q");
    five["MetricStat"]["Period"] = json!(300);
    let input = between(start, start + HOUR, vec![five]);
    let answer = service.call("GetMetricData", &input).expect("data");
    let result = &answer["MetricDataResults"][0];
    let stamps = result["Timestamps"].as_array().expect("a list");
    assert!(stamps.iter().all(|stamp| stamp.as_i64().expect("whole") % 300 == 0));
    let sum: f64 =
        result["Values"].as_array().expect("a list").iter().filter_map(Json::as_f64).sum();
    assert_eq!(sum, f64::from((0..30).sum::<i32>()));
}

#[test]
fn series_without_data_is_empty_and_complete_and_dimensions_must_be_the_same() {
    let (service, start) = counting(5);
    let more = dimensions(&[("a", "b")]);
    let queries = vec![
        query("other", "own", "nothing", &json!([]), "Sum"),
        query("more", "own", "n", &more, "Sum"),
        counted("exact"),
    ];
    let answer = service.call("GetMetricData", &between(start, start + HOUR, queries));
    let answer = answer.expect("data");
    for (n, values) in [(0, 0), (1, 0), (2, 5)] {
        let result = &answer["MetricDataResults"][n];
        assert_eq!(result["StatusCode"], "Complete");
        assert_eq!(result["Values"].as_array().map(Vec::len), Some(values));
        assert_eq!(result["Timestamps"].as_array().map(Vec::len), Some(values));
    }
}

/// The values of all pages by query id, and the number of pages.
fn pages(service: &Service, mut input: Json) -> (Vec<(String, Vec<f64>)>, usize) {
    let mut read: Vec<(String, Vec<f64>)> = vec![];
    let mut count = 0;
    loop {
        let answer = service.call("GetMetricData", &input).expect("a page");
        count += 1;
        let mut on_page = 0;
        let results = answer["MetricDataResults"].as_array().expect("a list");
        for (n, result) in results.iter().enumerate() {
            let id = result["Id"].as_str().expect("an id").to_owned();
            let values = result["Values"].as_array().expect("a list").iter();
            let values: Vec<f64> = values.filter_map(Json::as_f64).collect();
            on_page += values.len();
            match read.last_mut().filter(|(last, _)| *last == id) {
                Some((_, all)) => all.extend(values),
                None => read.push((id, values)),
            }
            let is_last = n + 1 == results.len();
            let is_cut = result["StatusCode"] == "PartialData";
            assert!(!is_cut || (is_last && answer["NextToken"].is_string()));
        }
        if let Some(max) = input["MaxDatapoints"].as_u64() {
            assert!(on_page as u64 <= max);
        }
        match answer["NextToken"].as_str() {
            None => return (read, count),
            Some(token) => input["NextToken"] = json!(token),
        }
    }
}

#[test]
fn pages_hold_every_point_once_in_either_order() {
    let (service, start) = counting(50);
    for scan_by in ["TimestampAscending", "TimestampDescending"] {
        for (max, expected) in [(1, 150), (7, 22), (50, 3), (149, 2), (150, 1), (100_800, 1)] {
            let queries = vec![counted("a"), counted("b"), counted("c")];
            let mut input = between(start, start + HOUR, queries);
            input["MaxDatapoints"] = json!(max);
            input["ScanBy"] = json!(scan_by);
            let (read, count) = pages(&service, input);
            assert_eq!(count, expected, "{max}");
            let mut all: Vec<f64> = (0..50).map(f64::from).collect();
            if scan_by == "TimestampDescending" {
                all.reverse();
            }
            let expected: Vec<(String, Vec<f64>)> =
                ["a", "b", "c"].map(|id| (id.to_owned(), all.clone())).into();
            assert_eq!(read, expected, "{max} {scan_by}");
        }
    }
}

#[test]
fn a_page_holds_a_hundred_thousand_eight_hundred_points() {
    // 210 queries of 481 points each are 101,010.
    let (service, start) = counting(481);
    let queries: Vec<Json> = (0..210).map(|n| counted(&format!("q{n}"))).collect();
    let input = between(start, start + Span::hours(9), queries);
    let first = service.call("GetMetricData", &input).expect("a page");
    let results = first["MetricDataResults"].as_array().expect("a list");
    let points: usize = results.iter().filter_map(|r| r["Values"].as_array()).map(Vec::len).sum();
    assert_eq!(points, 100_800);
    let (read, count) = pages(&service, input);
    assert_eq!((read.len(), count), (210, 2));
    assert!(read.iter().all(|(_, values)| values.len() == 481));
}

#[test]
fn tokens_of_other_requests_are_refused() {
    let (service, start) = counting(5);
    let mut input = between(start, start + HOUR, vec![counted("a")]);
    input["MaxDatapoints"] = json!(2);
    let answer = service.call("GetMetricData", &input).expect("a page");
    let mut other = between(start, start + HOUR, vec![counted("b")]);
    for token in [answer["NextToken"].clone(), json!("nonsense"), json!("")] {
        other["NextToken"] = token;
        let (code, _) = service.call("GetMetricData", &other).expect_err("refused");
        assert_eq!(code, "InvalidNextToken");
    }
}

#[test]
fn hidden_queries_and_other_units_are_left_out() {
    let (service, start) = counting(5);
    let mut hidden = counted("hidden");
    hidden["ReturnData"] = json!(false);
    let mut percent = counted("percent");
    percent["MetricStat"]["Unit"] = json!("Percent");
    let mut plain = counted("plain");
    plain["MetricStat"]["Unit"] = json!("None");
    let input = between(start, start + HOUR, vec![hidden, percent, plain]);
    let answer = service.call("GetMetricData", &input).expect("data");
    let results = answer["MetricDataResults"].as_array().expect("a list");
    let seen: Vec<(&str, usize)> = results
        .iter()
        .map(|r| (r["Id"].as_str().expect("an id"), r["Values"].as_array().map_or(0, Vec::len)))
        .collect();
    assert_eq!(seen, [("percent", 0), ("plain", 5)]);
}

#[test]
fn points_of_short_periods_are_not_kept_long() {
    let (service, start) = counting(6 * 60);
    let count = |period: i64, from: Time, to: Time| {
        let mut one = counted("q");
        one["MetricStat"]["Period"] = json!(period);
        let answer = service.call("GetMetricData", &between(from, to, vec![one])).expect("data");
        answer["MetricDataResults"][0]["Values"].as_array().map_or(0, Vec::len)
    };
    let now = service.worlds[0].now();
    assert_eq!(count(60, start, now), 360);
    // Periods below one minute are kept for three hours.
    assert_eq!(count(10, start, now), 180);
    assert_eq!(count(10, now - Span::hours(2), now), 120);
}
