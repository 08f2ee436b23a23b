//! Latency and throughput of a round over time, with a band for each fault and a line for each primary.

use super::course::{Course, Sample};
use super::svg::{Anchor, Area, Drawing};

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 460.0;
const LATENCY: Area = Area {
    left: 60.0,
    top: 50.0,
    width: 920.0,
    height: 200.0,
};
const THROUGHPUT: Area = Area {
    left: 60.0,
    top: 280.0,
    width: 920.0,
    height: 140.0,
};
/// In ms; one pixel holds more than one operation.
const BUCKET_MS: f64 = 200.0;
/// The scale of latencies is logarithmic.
const LEAST_MS: f64 = 0.5;
const MOST_MS: f64 = 5_000.0;

const INK: &str = "#333333";
const GRID: &str = "#dddddd";
const BAND: &str = "#d95f02";
const GOOD: &str = "#1b6ca8";
const BAD: &str = "#c0392b";
const PRIMARY: &str = "#2e7d32";

/// The plot, as SVG.
pub fn plot(title: &str, course: &Course, samples: &[Sample]) -> String {
    let mut plot = Plot {
        drawing: Drawing::new(WIDTH, HEIGHT),
        lasted_ms: course.lasted_ms.max(1.0),
    };
    plot.drawing.text((60.0, 18.0), Anchor::Start, INK, title);
    plot.bands(course);
    plot.axes(samples);
    plot.latency(samples);
    plot.throughput(samples);
    plot.primaries(course);
    plot.drawing.finish()
}

struct Plot {
    drawing: Drawing,
    lasted_ms: f64,
}

impl Plot {
    fn x(&self, at_ms: f64) -> f64 {
        LATENCY.left + LATENCY.width * (at_ms / self.lasted_ms).clamp(0.0, 1.0)
    }

    fn bands(&mut self, course: &Course) {
        for (number, strike) in course.strikes.iter().enumerate() {
            let left = self.x(strike.began_ms);
            let right = self.x(strike.healed_ms.unwrap_or(self.lasted_ms));
            for area in [LATENCY, THROUGHPUT] {
                let width = (right - left).max(1.0);
                let band = Area {
                    left,
                    width,
                    ..area
                };
                self.drawing.area(band, BAND, 0.15);
            }
            let words = format!("{} {}", strike.fault, strike.host);
            let row = 34.0 + 12.0 * (number % 2) as f64;
            self.drawing.text((left, row), Anchor::Start, BAND, &words);
        }
    }

    fn axes(&mut self, samples: &[Sample]) {
        for area in [LATENCY, THROUGHPUT] {
            let corner = [
                (area.left, area.top),
                (area.left, area.bottom()),
                (area.right(), area.bottom()),
            ];
            self.drawing.line(&corner, INK, 1.0);
        }
        for (ms, words) in [
            (1.0, "1 ms"),
            (10.0, "10 ms"),
            (100.0, "100 ms"),
            (1_000.0, "1 s"),
        ] {
            let y = latency_y(ms);
            let across = [(LATENCY.left, y), (LATENCY.right(), y)];
            self.drawing.line(&across, GRID, 1.0);
            let place = (LATENCY.left - 5.0, y + 4.0);
            self.drawing.text(place, Anchor::End, INK, words);
        }
        let highest = highest(&buckets(samples, self.lasted_ms, true));
        let top = (THROUGHPUT.left - 5.0, THROUGHPUT.top + 4.0);
        self.drawing
            .text(top, Anchor::End, INK, &format!("{highest:.0}/s"));
        let bottom = (THROUGHPUT.left - 5.0, THROUGHPUT.bottom() + 4.0);
        self.drawing.text(bottom, Anchor::End, INK, "0");
        let seconds = (self.lasted_ms / 1_000.0) as usize;
        for second in (0..=seconds).step_by(5) {
            let x = self.x(second as f64 * 1_000.0);
            let place = (x, THROUGHPUT.bottom() + 16.0);
            self.drawing
                .text(place, Anchor::Start, INK, &format!("{second} s"));
        }
        let legend = (THROUGHPUT.left, HEIGHT - 8.0);
        let words = "blue: acknowledged; red: failed or unknown; green: first write of a primary; orange: a fault";
        self.drawing.text(legend, Anchor::Start, INK, words);
    }

    fn latency(&mut self, samples: &[Sample]) {
        for (is_ok, color, opacity) in [(true, GOOD, 0.35), (false, BAD, 0.7)] {
            let of_kind = samples.iter().filter(|sample| sample.is_ok == is_ok);
            let mut points: Vec<(i64, i64)> = of_kind
                .map(|sample| {
                    let (x, y) = (self.x(sample.at_ms), latency_y(sample.latency_ms));
                    (x.round() as i64, y.round() as i64)
                })
                .collect();
            // What falls on one pixel is shown once.
            points.sort_unstable();
            points.dedup();
            let points: Vec<_> = points
                .into_iter()
                .map(|(x, y)| (x as f64, y as f64))
                .collect();
            self.drawing.dots(&points, color, opacity);
        }
    }

    fn throughput(&mut self, samples: &[Sample]) {
        let good = buckets(samples, self.lasted_ms, true);
        let scale = THROUGHPUT.height / highest(&good);
        for (buckets, color) in [(buckets(samples, self.lasted_ms, false), BAD), (good, GOOD)] {
            let points: Vec<_> = buckets
                .iter()
                .enumerate()
                .map(|(number, rate)| {
                    let x = self.x((number as f64 + 0.5) * BUCKET_MS);
                    let y = THROUGHPUT.bottom() - (rate * scale).min(THROUGHPUT.height);
                    (x, y)
                })
                .collect();
            self.drawing.line(&points, color, 1.5);
        }
    }

    fn primaries(&mut self, course: &Course) {
        for (number, primary) in course.primaries.iter().enumerate() {
            let x = self.x(primary.first_ms);
            let down = [(x, LATENCY.top), (x, THROUGHPUT.bottom())];
            self.drawing.line(&down, PRIMARY, 1.0);
            let words = format!("{} ({})", primary.node, primary.timeline);
            let place = (x + 3.0, THROUGHPUT.top - 16.0 + 11.0 * (number % 2) as f64);
            self.drawing.text(place, Anchor::Start, PRIMARY, &words);
        }
    }
}

fn latency_y(ms: f64) -> f64 {
    let share = (ms.clamp(LEAST_MS, MOST_MS) / LEAST_MS).ln() / (MOST_MS / LEAST_MS).ln();
    LATENCY.bottom() - LATENCY.height * share
}

/// Operations a second.
fn buckets(samples: &[Sample], lasted_ms: f64, is_ok: bool) -> Vec<f64> {
    let mut rates = vec![0.0; (lasted_ms / BUCKET_MS) as usize + 1];
    for sample in samples.iter().filter(|sample| sample.is_ok == is_ok) {
        if let Some(rate) = rates.get_mut((sample.at_ms / BUCKET_MS) as usize) {
            *rate += 1_000.0 / BUCKET_MS;
        }
    }
    rates
}

fn highest(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(1.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::course::{Primary, Struck};

    #[test]
    fn it_shows_faults_primaries_and_what_clients_saw() {
        let course = Course {
            lasted_ms: 10_000.0,
            primaries: vec![Primary {
                first_ms: 10.0,
                last_ms: 9_000.0,
                timeline: 3,
                node: "b".to_owned(),
                writes: 5,
            }],
            strikes: vec![Struck {
                fault: "isolate".to_owned(),
                host: "a".to_owned(),
                role: "primary".to_owned(),
                outcome: "installed".to_owned(),
                began_ms: 4_000.0,
                installed_ms: 4_001.0,
                healed_ms: Some(8_000.0),
                least_outage_ms: Some(1_400.0),
                outage_ms: Some(1_500.0),
                worst_outage_ms: None,
            }],
            ..Course::default()
        };
        let sample = |at_ms, latency_ms, is_ok| Sample {
            at_ms,
            latency_ms,
            is_ok,
        };
        let samples = [sample(100.0, 1.0, true), sample(5_000.0, 2_000.0, false)];
        let text = plot("round 1", &course, &samples);
        for part in [
            "round 1",
            // From 40 % to 80 % of the width.
            r#"<rect x="428.0" y="50.0" width="368.0""#,
            "isolate a",
            "b (3)",
            // One dot of each kind.
            "<path d=\"M69.0 235.0h1.6\"",
            "<path d=\"M520.0 70.0h1.6\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }
}
