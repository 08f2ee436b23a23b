//! Just enough SVG for a plot: shapes in, text out.

use std::fmt::Write;

/// A drawing of a fixed size.
#[derive(Debug, Clone)]
pub struct Drawing {
    width: f64,
    height: f64,
    body: String,
}

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// Its left edge.
    pub left: f64,
    /// Its upper edge.
    pub top: f64,
    /// How wide it is.
    pub width: f64,
    /// How high it is.
    pub height: f64,
}

impl Area {
    /// Its right edge.
    pub fn right(self) -> f64 {
        self.left + self.width
    }

    /// Its lower edge.
    pub fn bottom(self) -> f64 {
        self.top + self.height
    }
}

/// On which side of its place a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

impl Drawing {
    /// Empty and white.
    pub fn new(width: f64, height: f64) -> Drawing {
        let mut drawing = Drawing {
            width,
            height,
            body: String::new(),
        };
        let all = Area {
            left: 0.0,
            top: 0.0,
            width,
            height,
        };
        drawing.area(all, "#ffffff", 1.0);
        drawing
    }

    fn put(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{line}").expect("a string takes everything");
    }

    /// A filled rectangle.
    pub fn area(&mut self, area: Area, color: &str, opacity: f64) {
        let Area {
            left,
            top,
            width,
            height,
        } = area;
        self.put(format_args!(
            r#"<rect x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}" fill="{color}" fill-opacity="{opacity}"/>"#
        ));
    }

    /// A line through points.
    pub fn line(&mut self, points: &[(f64, f64)], color: &str, width: f64) {
        if points.len() < 2 {
            return;
        }
        let places: Vec<_> = points
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        self.put(format_args!(
            r#"<polyline points="{}" fill="none" stroke="{color}" stroke-width="{width}"/>"#,
            places.join(" ")
        ));
    }

    /// Small squares, all in one path so that many of them stay small.
    pub fn dots(&mut self, points: &[(f64, f64)], color: &str, opacity: f64) {
        if points.is_empty() {
            return;
        }
        let places: String = points
            .iter()
            .map(|(x, y)| format!("M{x:.1} {y:.1}h1.6"))
            .collect();
        self.put(format_args!(
            r#"<path d="{places}" stroke="{color}" stroke-opacity="{opacity}" stroke-width="1.6"/>"#
        ));
    }

    /// Words. Whatever means something in XML is escaped.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, color: &str, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let words = escaped(words);
        self.put(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{color}">{words}</text>"#
        ));
    }

    /// The whole file.
    pub fn finish(self) -> String {
        let Drawing {
            width,
            height,
            body,
        } = self;
        format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">
{body}</svg>
"#
        )
    }
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_svg() {
        let mut drawing = Drawing::new(20.0, 10.0);
        drawing.line(&[(0.0, 1.0), (2.0, 3.25)], "#000000", 1.0);
        drawing.line(&[(0.0, 1.0)], "#000000", 1.0);
        drawing.text((1.0, 2.0), Anchor::End, "#000000", "a < b & c");
        assert_eq!(
            drawing.finish(),
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10" font-family="sans-serif" font-size="11">
<rect x="0.0" y="0.0" width="20.0" height="10.0" fill="#ffffff" fill-opacity="1"/>
<polyline points="0.0,1.0 2.0,3.2" fill="none" stroke="#000000" stroke-width="1"/>
<text x="1.0" y="2.0" text-anchor="end" fill="#000000">a &lt; b &amp; c</text>
</svg>
"##
        );
    }
}
