//! The queries of `deploy/`, compared with figures that a program really serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use promql::{AggregationAction, Node, Op, OpMod, OpModAction};

/// Labels that Prometheus adds to what it reads.
const ADDED: [&str; 2] = ["job", "instance"];

/// Label names by the name of a series.
pub type Labels = BTreeMap<String, BTreeSet<String>>;

/// A series that a query reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The query.
    pub query: String,
    /// Name of the series.
    pub series: String,
    /// Labels that the query expects of it.
    pub labels: BTreeSet<String>,
}

/// Every query of the alert rules and the dashboard in `deploy`, the repository's folder of that name.
///
/// # Panics
///
/// When a file is not there or not as it should be.
#[must_use]
pub fn deployed(deploy: &Path) -> Vec<String> {
    let rules = std::fs::read_to_string(deploy.join("prometheus/alerts.yml")).expect("rules");
    let alerts = rules.lines().filter(|line| line.trim_start().starts_with("- alert: ")).count();
    let mut queries: Vec<String> = rules
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("expr: "))
        .map(str::to_owned)
        .collect();
    assert_eq!(queries.len(), alerts, "each alert has its expression on one line");
    let dashboard = std::fs::read(deploy.join("grafana/hierophant.json")).expect("dashboard");
    let dashboard: serde_json::Value = serde_json::from_slice(&dashboard).expect("JSON");
    for panel in dashboard["panels"].as_array().expect("panels") {
        let targets = panel["targets"].as_array();
        assert!(panel["type"] == "row" || targets.is_some(), "a panel without queries: {panel}");
        for target in targets.into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            queries.push(query.replace("$__rate_interval", "5m"));
        }
    }
    queries
}

/// What a query reads.
///
/// # Panics
///
/// When it is not PromQL.
#[must_use]
pub fn reads(query: &str) -> Vec<Read> {
    let node = promql::parse(query.as_bytes(), &promql::ParserOptions::default());
    let node = node.unwrap_or_else(|error| panic!("{query:?} is not PromQL: {error:?}"));
    let mut found = Vec::new();
    walk(&node, &BTreeSet::new(), &mut |series, labels| {
        found.push(Read { query: query.to_owned(), series, labels });
    });
    found
}

/// The series of a program's `/metrics`, with their labels.
#[must_use]
pub fn served(metrics: &str) -> Labels {
    let mut labels = Labels::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        // The value stands behind the last space; no label value here has a brace, comma or quote.
        let Some((series, _)) = line.rsplit_once(' ') else { continue };
        let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
        let names = rest.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        let known = labels.entry(name.to_owned()).or_default();
        known.extend(names.map(|(label, _)| label.to_owned()));
    }
    labels
}

/// What queries read that is not served, among the series whose name begins with `prefix`.
#[must_use]
pub fn missing(queries: &[String], prefix: &str, served: &Labels) -> Vec<Read> {
    let reads = queries.iter().flat_map(|query| reads(query));
    let is_missing = |read: &Read| match served.get(&read.series) {
        None => true,
        Some(known) => !read
            .labels
            .iter()
            .all(|label| known.contains(label) || ADDED.contains(&label.as_str())),
    };
    reads.filter(|read| read.series.starts_with(prefix) && is_missing(read)).collect()
}

/// Tells `found` of each series below `node`, of which these labels are expected.
fn walk(
    node: &Node,
    expected: &BTreeSet<String>,
    found: &mut impl FnMut(String, BTreeSet<String>),
) {
    match node {
        Node::Scalar(_) | Node::String(_) => {}
        Node::Negation(inner) => walk(inner, expected, found),
        Node::Function { args, aggregation, .. } => {
            let mut expected = expected.clone();
            if let Some(by) = aggregation {
                assert_eq!(by.action, AggregationAction::By, "`without` names no labels to check");
                expected.extend(by.labels.iter().cloned());
            }
            args.iter().for_each(|node| walk(node, &expected, found));
        }
        Node::Operator { op, args } => {
            let mut expected = expected.clone();
            if let Some(matching) = matching(op)
                && matching.action == OpModAction::RestrictTo
            {
                expected.extend(matching.labels.iter().cloned());
            }
            args.iter().for_each(|node| walk(node, &expected, found));
        }
        Node::Vector(vector) => {
            let (names, labels): (Vec<_>, Vec<_>) =
                vector.labels.iter().partition(|label| label.name == "__name__");
            let [name] = names[..] else { panic!("a selector without a name: {vector:?}") };
            let series = String::from_utf8(name.value.clone()).expect("text");
            let mut expected = expected.clone();
            expected.extend(labels.iter().map(|label| label.name.clone()));
            found(series, expected);
        }
    }
}

fn matching(op: &Op) -> Option<&OpMod> {
    match op {
        Op::Pow(of) | Op::Mul(of) | Op::Div(of) | Op::Mod(of) | Op::Plus(of) | Op::Minus(of) => {
            of.as_ref()
        }
        Op::Eq(_, of) | Op::Ne(_, of) | Op::Lt(_, of) => of.as_ref(),
        Op::Gt(_, of) | Op::Le(_, of) | Op::Ge(_, of) => of.as_ref(),
        Op::And(of) | Op::Unless(of) | Op::Or(of) => of.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: &str =
        "# TYPE jobs counter\njobs_total{mode=\"core\",state=\"proved\"} 1\nslots 2\n";

    fn missing_of(query: &str) -> usize {
        missing(&[query.to_owned()], "", &served(SERVED)).len()
    }

    #[test]
    fn a_query_is_held_to_names_and_labels_that_are_served() {
        for good in [
            "sum by (mode, job) (rate(jobs_total{state=\"proved\"}[5m])) > 0",
            "slots - on (instance) sum by (instance) (jobs_total)",
            "sum(jobs_total) / (sum(slots) > 0) or vector(0)",
        ] {
            assert_eq!(missing_of(good), 0, "{good}");
        }
        for bad in [
            "jobs",
            "jobs_total{program=\"x\"}",
            "sum by (program) (rate(jobs_total[5m]))",
            "slots > on (mode) slots2",
            "slots unless on (mode) jobs_total",
        ] {
            assert!(missing_of(bad) > 0, "{bad}");
        }
    }
}
