//! Latency and throughput of a round over time, with a band for each fault and a line for each primary.

use super::course::{Course, Sample, Struck};
use super::svg::{Anchor, Area, Drawing};

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 510.0;
const LATENCY: Area = Area {
    left: 60.0,
    top: 72.0,
    width: 920.0,
    height: 200.0,
};
const THROUGHPUT: Area = Area {
    left: 60.0,
    top: 322.0,
    width: 920.0,
    height: 140.0,
};
/// Where labels stand: the names of faults above the upper area, those of primaries above the lower one.
const FAULT_ROWS: [f64; 3] = [66.0, 53.0, 40.0];
const PRIMARY_ROWS: [f64; 3] = [316.0, 303.0, 290.0];
/// An ordinary letter of the font, wide enough for those that browsers choose.
const LETTER: f64 = 6.2;
/// In ms; one pixel holds more than one operation.
const BUCKET_MS: f64 = 200.0;
/// The scale of latencies is logarithmic.
const LEAST_MS: f64 = 0.5;
const MOST_MS: f64 = 5_000.0;
/// How many times stand below the plot at most.
const MOST_TIMES: usize = 15;

const INK: &str = "#333333";
const GRID: &str = "#dddddd";
const BAND: &str = "#d95f02";
const FAULT: &str = "#a84900";
const GOOD: &str = "#1b6ca8";
const BAD: &str = "#c0392b";
const PRIMARY: &str = "#2e7d32";

/// The plot, as SVG.
pub fn plot(title: &str, course: &Course, samples: &[Sample]) -> String {
    let good = buckets(samples, course.lasted_ms, true);
    let bad = buckets(samples, course.lasted_ms, false);
    let mut plot = Plot {
        drawing: Drawing::new(WIDTH, HEIGHT),
        lasted_ms: course.lasted_ms.max(1.0),
        highest: round_number(good.iter().chain(&bad).copied().fold(1.0, f64::max)),
    };
    plot.drawing.text((60.0, 20.0), Anchor::Start, INK, title);
    plot.bands(course);
    plot.axes();
    plot.latency(samples);
    plot.throughput(&bad, BAD);
    plot.throughput(&good, GOOD);
    plot.primaries(course);
    plot.legend();
    plot.drawing.finish()
}

struct Plot {
    drawing: Drawing,
    lasted_ms: f64,
    /// At the top of the throughput, in operations a second.
    highest: f64,
}

/// Rows of labels, of which none covers another.
struct Rows<'a> {
    rows: &'a [f64],
    /// Where the last label of each row ends.
    ends: Vec<f64>,
}

impl Rows<'_> {
    fn new(rows: &[f64]) -> Rows<'_> {
        Rows {
            rows,
            ends: vec![0.0; rows.len()],
        }
    }

    /// Where words that belong to `x` begin, in the first row with room; none if there is none. Labels are given from the
    /// left to the right.
    fn place(&mut self, x: f64, words: &str) -> Option<(f64, f64)> {
        let width = words.chars().count() as f64 * LETTER;
        let left = x.min(WIDTH - width).max(0.0);
        let row = self.ends.iter().position(|end| *end <= left)?;
        self.ends[row] = left + width + LETTER;
        Some((left, self.rows[row]))
    }
}

impl Plot {
    fn x(&self, at_ms: f64) -> f64 {
        LATENCY.left + LATENCY.width * (at_ms / self.lasted_ms).clamp(0.0, 1.0)
    }

    fn bands(&mut self, course: &Course) {
        let mut rows = Rows::new(&FAULT_ROWS);
        for strike in &course.strikes {
            let left = self.x(strike.began_ms);
            let right = self.x(strike.healed_ms.unwrap_or(self.lasted_ms));
            if is_there(strike) {
                for area in [LATENCY, THROUGHPUT] {
                    let width = (right - left).max(1.0);
                    let band = Area {
                        left,
                        width,
                        ..area
                    };
                    self.drawing.area(band, BAND, 0.15);
                }
            }
            let skipped = if is_there(strike) { "" } else { " (skipped)" };
            let words = format!("{} {}{skipped}", strike.fault, strike.host);
            if let Some(place) = rows.place(left, &words) {
                self.drawing.text(place, Anchor::Start, FAULT, &words);
            }
        }
    }

    fn axes(&mut self) {
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
            self.height(LATENCY, latency_y(ms), words);
        }
        for share in [0.0, 0.5, 1.0] {
            let words = format!("{}/s", self.highest * share);
            let y = THROUGHPUT.bottom() - THROUGHPUT.height * share;
            self.height(THROUGHPUT, y, &words);
        }
        let seconds = (self.lasted_ms / 1_000.0) as usize;
        for second in (0..=seconds).step_by(seconds_apart(seconds)) {
            let x = self.x(second as f64 * 1_000.0);
            for area in [LATENCY, THROUGHPUT] {
                let tick = [(x, area.bottom()), (x, area.bottom() + 4.0)];
                self.drawing.line(&tick, INK, 1.0);
            }
            let place = (x, THROUGHPUT.bottom() + 16.0);
            let words = format!("{second} s");
            self.drawing.text(place, Anchor::Middle, INK, &words);
        }
    }

    /// A line across an area, with what it stands for.
    fn height(&mut self, area: Area, y: f64, words: &str) {
        if y < area.bottom() {
            let across = [(area.left, y), (area.right(), y)];
            self.drawing.line(&across, GRID, 1.0);
        }
        let place = (area.left - 5.0, y + 4.0);
        self.drawing.text(place, Anchor::End, INK, words);
    }

    fn latency(&mut self, samples: &[Sample]) {
        for (is_ok, color, opacity) in [(true, GOOD, 0.5), (false, BAD, 0.7)] {
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

    fn throughput(&mut self, buckets: &[f64], color: &str) {
        let scale = THROUGHPUT.height / self.highest;
        let points: Vec<_> = buckets
            .iter()
            .enumerate()
            .map(|(number, rate)| {
                let x = self.x((number as f64 + 0.5) * BUCKET_MS);
                (x, THROUGHPUT.bottom() - rate * scale)
            })
            .collect();
        self.drawing.line(&points, color, 1.5);
    }

    fn primaries(&mut self, course: &Course) {
        let mut rows = Rows::new(&PRIMARY_ROWS);
        for primary in &course.primaries {
            let x = self.x(primary.first_ms);
            for area in [LATENCY, THROUGHPUT] {
                let down = [(x, area.top), (x, area.bottom())];
                self.drawing.line(&down, PRIMARY, 1.0);
            }
            let words = format!("{} ({})", primary.node, primary.timeline);
            if let Some(place) = rows.place(x, &words) {
                self.drawing.text(place, Anchor::Start, PRIMARY, &words);
            }
        }
    }

    fn legend(&mut self) {
        let (mut left, y) = (THROUGHPUT.left, HEIGHT - 10.0);
        for (color, opacity, words) in [
            (GOOD, 1.0, "acknowledged"),
            (BAD, 1.0, "failed or unknown"),
            (PRIMARY, 1.0, "first write of a primary (its timeline)"),
            (BAND, 0.3, "a fault until it is healed"),
        ] {
            let square = Area {
                left,
                top: y - 9.0,
                width: 10.0,
                height: 10.0,
            };
            self.drawing.area(square, color, opacity);
            let place = (square.right() + 5.0, y);
            self.drawing.text(place, Anchor::Start, INK, words);
            left += words.len() as f64 * LETTER + 35.0;
        }
    }
}

/// Whether anything was done at all.
fn is_there(strike: &Struck) -> bool {
    !strike.outcome.starts_with("skipped")
}

fn latency_y(ms: f64) -> f64 {
    let share = (ms.clamp(LEAST_MS, MOST_MS) / LEAST_MS).ln() / (MOST_MS / LEAST_MS).ln();
    LATENCY.bottom() - LATENCY.height * share
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_number(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0].into_iter();
    let mut numbers = factors.map(|factor| factor * power);
    numbers.find(|it| *it >= value).unwrap_or(value)
}

fn seconds_apart(seconds: usize) -> usize {
    let steps = [1, 2, 5, 10, 20, 60, 120, 300, 600];
    let mut steps = steps.into_iter();
    let fits = |step: &usize| seconds / step < MOST_TIMES;
    steps.find(fits).unwrap_or(seconds / MOST_TIMES + 1)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::course::Primary;

    fn strike(fault: &str, outcome: &str, began_ms: f64) -> Struck {
        Struck {
            fault: fault.to_owned(),
            host: "a".to_owned(),
            role: "primary".to_owned(),
            outcome: outcome.to_owned(),
            began_ms,
            installed_ms: began_ms + 1.0,
            healed_ms: Some(began_ms + 4_000.0),
            least_outage_ms: Some(1_400.0),
            outage_ms: Some(1_500.0),
            worst_outage_ms: None,
        }
    }

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
            strikes: vec![
                strike("isolate", "installed", 4_000.0),
                strike("clock-ahead", "skipped: no clock", 4_500.0),
            ],
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
            r#"<rect x="428.0" y="72.0" width="368.0""#,
            "isolate a<",
            "clock-ahead a (skipped)",
            "b (3)",
            // One dot of each kind.
            "<path d=\"M69.0 257.0h1.6\"",
            "<path d=\"M520.0 92.0h1.6\"",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // What was not done has no band.
        assert_eq!(text.matches(r#"fill-opacity="0.15""#).count(), 2);
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }

    #[test]
    fn labels_neither_cover_each_other_nor_leave_the_drawing() {
        let mut rows = Rows::new(&FAULT_ROWS);
        let mut place = |x: f64| rows.place(x, "power-cut p1");
        let [low, middle, high] = FAULT_ROWS;
        assert_eq!(place(100.0), Some((100.0, low)));
        assert_eq!(place(110.0), Some((110.0, middle)));
        assert_eq!(place(120.0), Some((120.0, high)));
        assert_eq!(place(130.0), None);
        assert_eq!(place(190.0), Some((190.0, low)));
        let (left, _) = place(WIDTH - 10.0).unwrap();
        assert!(left + 12.0 * LETTER <= WIDTH);
    }

    #[test]
    fn scales_have_round_numbers() {
        let found = [1.0, 3.0, 355.0, 500.0, 501.0].map(round_number);
        assert_eq!(found, [1.0, 5.0, 500.0, 500.0, 1_000.0]);
        assert_eq!([9, 14, 40, 70, 299].map(seconds_apart), [1, 1, 5, 5, 20]);
        assert!(7_200 / seconds_apart(7_200) < MOST_TIMES);
    }
}
