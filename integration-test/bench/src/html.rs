//! A run as one page: tables, and charts of latencies, CPU and memory over time. It needs nothing from
//! elsewhere.

use std::fmt::Write;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::measure::Summary;
use crate::observe::Sample;
use crate::report::{Report, Scenario, mebibytes, short};

/// Width and height of a chart in pixels.
const SIZE: (u32, u32) = (640, 260);

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:2em auto;max-width:86em;padding:0 1em;\
color:#1c2330}h1,h2{line-height:1.2}table{border-collapse:collapse;margin:1em 0}\
td,th{padding:.25em .8em;border-bottom:1px solid #d8dee8;text-align:right}\
td:first-child,th:first-child{text-align:left}.held{color:#14722e}.missed,.fault{color:#b3261e;font-weight:600}\
.charts{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-size:.85em;color:#556}";

/// A line of a chart.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

/// The page of a run.
///
/// # Errors
///
/// When a chart cannot be drawn.
pub fn page(report: &Report) -> Result<String> {
    let machine = &report.machine;
    let title = format!("Hierophant, commit {}", report.commit);
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style>\
         <h1>{0}</h1><p>{1}, scale {2}, store {3}. {4}, {5} cores, {6:.0} GiB, {7}.</p>",
        escape(&title),
        escape(&report.begun),
        escape(&report.scale),
        escape(&report.store),
        escape(&machine.processor),
        machine.cores,
        mebibytes(machine.memory) / 1024.0,
        escape(&machine.system),
    );
    for scenario in &report.scenarios {
        add(&mut page, scenario)?;
    }
    page.push_str("</html>\n");
    Ok(page)
}

fn add(page: &mut String, scenario: &Scenario) -> Result<()> {
    let (before, after) = scenario.load;
    let name = escape(&scenario.name);
    let seconds = scenario.seconds;
    write!(
        page,
        "<h2 id=\"{name}\">{name}</h2><p>{seconds:.0} s; load of the machine {before:.1} before, \
         {after:.1} after</p>"
    )?;
    if let Some(fault) = &scenario.fault {
        write!(page, "<p class=\"fault\">Failed: {}</p>", escape(fault))?;
        return Ok(());
    }
    page.push_str("<table><tr><th>figure<th>value<th>unit<th>wanted<th>");
    for figure in &scenario.figures {
        let wanted = figure.target.map(|target| target.to_string()).unwrap_or_default();
        let held = match figure.held() {
            Some(true) => "<td class=\"held\">held",
            Some(false) => "<td class=\"missed\">missed",
            None => "<td>",
        };
        let (name, value) = (escape(&figure.name), short(figure.value));
        let unit = escape(&figure.unit);
        write!(page, "<tr><td>{name}<td>{value}<td>{unit}<td>{}{held}", escape(&wanted))?;
    }
    page.push_str("</table>");
    if !scenario.latencies.is_empty() {
        page.push_str("<table><tr><th>latency, ms<th>count<th>p50<th>p90<th>p99<th>p99.9<th>max");
        for of in &scenario.latencies {
            write!(page, "<tr><td>{}<td>{}", escape(&of.name), of.count)?;
            for number in [of.p50, of.p90, of.p99, of.p999, of.max] {
                write!(page, "<td>{}", short(number))?;
            }
        }
        page.push_str("</table>");
    }
    page.push_str("<div class=\"charts\">");
    for of in scenario.latencies.iter().filter(|of| of.course.len() > 1) {
        figure(page, &format!("{}, by second", of.name), "ms", &latency_lines(of))?;
    }
    for (part, samples) in scenario.samples.iter().filter(|(_, samples)| samples.len() > 1) {
        figure(page, &format!("Hierophant's CPU: {part}"), "% of a core", &[cpu(samples)])?;
        figure(page, &format!("Hierophant's memory: {part}"), "MiB", &[memory(samples)])?;
    }
    page.push_str("</div>");
    Ok(())
}

fn latency_lines(of: &Summary) -> [Line; 3] {
    let line = |name, value: fn(&crate::measure::Moment) -> f64| Line {
        name,
        points: of.course.iter().map(|moment| (moment.second as f64, value(moment))).collect(),
    };
    [
        line("p50", |moment| moment.p50),
        line("p99", |moment| moment.p99),
        line("max", |moment| moment.max),
    ]
}

fn cpu(samples: &[Sample]) -> Line {
    let points = samples.iter().map(|sample| (sample.second, 100.0 * sample.cores)).collect();
    Line { name: "", points }
}

fn memory(samples: &[Sample]) -> Line {
    let points = samples.iter().map(|sample| (sample.second, mebibytes(sample.rss))).collect();
    Line { name: "", points }
}

fn figure(page: &mut String, caption: &str, unit: &str, lines: &[Line]) -> Result<()> {
    let picture = chart(unit, lines).map_err(|error| anyhow!("cannot draw a chart: {error}"))?;
    write!(page, "<figure>{picture}<figcaption>{}</figcaption></figure>", escape(caption))?;
    Ok(())
}

fn chart(unit: &str, lines: &[Line]) -> Result<String, Box<dyn std::error::Error>> {
    const COLOURS: [RGBColor; 3] =
        [RGBColor(31, 95, 191), RGBColor(196, 120, 12), RGBColor(170, 60, 60)];
    let points = || lines.iter().flat_map(|line| &line.points);
    let end = points().map(|(second, _)| *second).fold(1.0, f64::max);
    let most = points().map(|(_, value)| *value).fold(0.001, f64::max) * 1.1;
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .x_label_area_size(30)
            .y_label_area_size(58)
            .build_cartesian_2d(0.0..end, 0.0..most)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("seconds")
            .y_desc(unit)
            .draw()?;
        for (line, colour) in lines.iter().zip(COLOURS) {
            let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
            let drawn = chart.draw_series(series)?;
            if !line.name.is_empty() {
                let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour);
                drawn.label(line.name).legend(key);
            }
        }
        if lines.iter().any(|line| !line.name.is_empty()) {
            chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw()?;
        }
        area.present()?;
    }
    Ok(picture)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use crate::measure::Moment;
    use crate::report::{Figure, Machine};

    use super::*;

    #[test]
    fn a_page_has_a_chart_for_each_course_and_takes_nothing_from_elsewhere() {
        let moment = |second| Moment { second, count: 9, p50: 1.0, p99: 2.0, max: 3.0 };
        let latencies = Summary {
            name: "answer <fast>".into(),
            course: (0..5).map(moment).collect(),
            ..Summary::default()
        };
        let scenario = Scenario {
            name: "poll".into(),
            figures: vec![Figure::gain("rate", 9.0, "/s").within(10.0)],
            latencies: vec![latencies],
            ..Scenario::default()
        };
        let report = Report {
            commit: "abc".into(),
            begun: String::new(),
            machine: Machine::default(),
            scale: "smoke".into(),
            store: "sqlite".into(),
            scenarios: vec![scenario],
        };
        let page = page(&report).expect("draws");
        assert!(page.matches("<polyline").count() >= 3, "{page}");
        assert!(page.contains("answer &lt;fast&gt;") && page.contains("missed"));
        assert!(!page.contains("src=") && !page.contains("href="));
    }
}
