//! The efficiency of fleets by their size, as a chart.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// Width and height in pixels.
const SIZE: (u32, u32) = (760, 400);

/// A line of the chart: machines and efficiency.
pub(crate) struct Line {
    /// What it shows.
    pub(crate) name: String,
    /// Points by number of machines.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws lines into an SVG file.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn draw(path: &Path, title: &str, lines: &[Line]) -> Result<()> {
    try_draw(path, title, lines).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn try_draw(path: &Path, title: &str, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(2.0..8.0, 0.0..100.0)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("machines")
        .y_desc("efficiency, %")
        .x_labels(7)
        .x_label_formatter(&|exponent: &f64| format!("{:.0}", exponent.exp2()))
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (number, line) in lines.iter().enumerate() {
        let color = Palette99::pick(number).stroke_width(2);
        chart
            .draw_series(LineSeries::new(
                line.points.iter().map(|(machines, efficiency)| (machines.log2(), *efficiency)),
                color,
            ))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
