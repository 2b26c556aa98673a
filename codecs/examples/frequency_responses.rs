//! `cargo run --release -p codecs --example frequency_responses [FILE.svg]`: measures the resamplers with tones and draws their frequency
//! responses, for the eye.
//!
//! Every point is a tone through a real [`Resampler`]: at the frequency itself where both rates can carry it, else at its alias
//! (downwards) or as the image of the tone that it mirrors (upwards).
#![allow(
    clippy::unwrap_used,
    reason = "an example may stop at the first surprise"
)]

use codecs::SampleRate;
use codecs::resample::Resampler;
use std::f64::consts::TAU;
use std::fmt::Write as _;

const AMPLITUDE: f64 = 20_000.0;
/// Frequencies are drawn up to so many times the lower rate.
const FRACTION_MAX: f64 = 1.5;

fn main() {
    let file = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "frequency_responses.svg".to_owned());
    let pairs: Vec<(SampleRate, SampleRate)> = SampleRate::ALL
        .into_iter()
        .flat_map(|from| SampleRate::ALL.into_iter().map(move |to| (from, to)))
        .filter(|(from, to)| from != to)
        .collect();
    let (up, down): (Vec<_>, Vec<_>) = pairs.iter().partition(|(from, to)| from < to);
    let mut svg = String::from(
        "<svg xmlns='http://www.w3.org/2000/svg' width='1100' height='1250' font-family='sans-serif' font-size='13'>\
         <rect width='100%' height='100%' fill='white'/>",
    );
    let whole = Panel {
        top: 40.0,
        x_max: FRACTION_MAX,
        y: (-110.0, 5.0),
        y_step: 10.0,
    };
    whole.draw(
        &mut svg,
        "Upwards: the signal, and its images above 0.5",
        &up,
    );
    let whole = Panel {
        top: 450.0,
        ..whole
    };
    whole.draw(
        &mut svg,
        "Downwards: the signal, and what is left of aliases above 0.5",
        &down,
    );
    let pass_band = Panel {
        top: 860.0,
        x_max: 0.46,
        y: (-0.06, 0.02),
        y_step: 0.01,
    };
    pass_band.draw(&mut svg, "Pass band, all pairs", &pairs);
    svg.push_str("</svg>\n");
    std::fs::write(&file, svg).unwrap();
    println!("wrote {file}");
}

/// Gain in dB of the resampler at `fraction` of the lower rate.
fn gain_db(from: SampleRate, to: SampleRate, fraction: f64) -> f64 {
    let low_hz = f64::from(from.hz().min(to.hz()));
    let frequency_hz = fraction * low_hz;
    // What the lower rate makes of this frequency.
    let folded_hz = (frequency_hz - low_hz * (frequency_hz / low_hz).round()).abs();
    let (in_hz, out_hz) = match from < to {
        true => (folded_hz, frequency_hz),
        false => (frequency_hz, folded_hz),
    };
    let input: Vec<i16> = (0..from.samples(600))
        .map(|n| (AMPLITUDE * (TAU * in_hz * n as f64 / f64::from(from.hz())).sin()).round() as i16)
        .collect();
    let mut resampler = Resampler::new(from, to);
    let mut output = vec![0; resampler.output_len_max(input.len())];
    let written = resampler.process(&input, &mut output);
    20.0 * (amplitude(to, out_hz, &output[to.samples(100)..written]) / AMPLITUDE)
        .max(1e-6)
        .log10()
}

/// Amplitude of the sine of `frequency_hz` in `pcm`, by least squares.
fn amplitude(rate: SampleRate, frequency_hz: f64, pcm: &[i16]) -> f64 {
    let (mut ss, mut sc, mut cc, mut ys, mut yc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, &sample) in pcm.iter().enumerate() {
        let (sin, cos) = (TAU * frequency_hz * n as f64 / f64::from(rate.hz())).sin_cos();
        ss += sin * sin;
        sc += sin * cos;
        cc += cos * cos;
        ys += f64::from(sample) * sin;
        yc += f64::from(sample) * cos;
    }
    let determinant = ss * cc - sc * sc;
    ((ys * cc - yc * sc) / determinant).hypot((yc * ss - ys * sc) / determinant)
}

/// One set of axes.
struct Panel {
    top: f64,
    /// Fraction of the lower rate at the right edge.
    x_max: f64,
    /// dB at the lower and at the upper edge.
    y: (f64, f64),
    y_step: f64,
}

const LEFT: f64 = 70.0;
const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 330.0;
const COLOURS: [&str; 12] = [
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f",
    "#bcbd22", "#17becf", "#000000", "#aa3377",
];

impl Panel {
    fn draw(&self, svg: &mut String, title: &str, pairs: &[(SampleRate, SampleRate)]) {
        let (x, y) = (|fraction: f64| self.x(fraction), |db: f64| self.y(db));
        write!(
            svg,
            "<text x='{LEFT}' y='{}' font-size='16'>{title}</text>",
            self.top - 12.0
        )
        .unwrap();
        let mut db = self.y.0;
        while db <= self.y.1 + 1e-9 {
            let (at, digits) = (y(db), if self.y_step < 1.0 { 2 } else { 0 });
            write!(
                svg,
                "<path d='M{LEFT} {at:.1}h{WIDTH}' stroke='#ddd'/><text x='{}' y='{:.1}' text-anchor='end'>{db:.digits$} dB</text>",
                LEFT - 6.0,
                at + 4.0,
            )
            .unwrap();
            db += self.y_step;
        }
        let fractions = [0.0, 0.1, 0.2, 0.3, 0.425, 0.45, 0.575, 0.75, 1.0, 1.25, 1.5];
        let mut last = f64::NEG_INFINITY;
        for fraction in fractions
            .into_iter()
            .filter(|&fraction| fraction <= self.x_max)
        {
            let (at, bottom) = (x(fraction), self.top + HEIGHT);
            write!(
                svg,
                "<path d='M{at:.1} {}v{HEIGHT}' stroke='#ddd'/>",
                self.top
            )
            .unwrap();
            if at - last > 30.0 {
                write!(
                    svg,
                    "<text x='{at:.1}' y='{}' text-anchor='middle'>{fraction}</text>",
                    bottom + 16.0
                )
                .unwrap();
                last = at;
            }
        }
        // The bars: -68 dB from 0.575 on; 0.01 dB up to 0.425.
        let bars = [
            ((0.575, self.x_max), -68.0),
            ((0.0, 0.425), -0.01),
            ((0.0, 0.425), 0.01),
        ];
        for ((from, to), db) in bars
            .into_iter()
            .filter(|(_, db)| self.y_step < 1.0 || *db < -1.0)
        {
            if from < self.x_max && db >= self.y.0 {
                write!(
                    svg,
                    "<path d='M{:.1} {:.1}H{:.1}' stroke='red' stroke-dasharray='6 4'/>",
                    x(from),
                    y(db),
                    x(to)
                )
                .unwrap();
            }
        }
        for (index, &(from, to)) in pairs.iter().enumerate() {
            let nyquist =
                f64::from(from.hz().max(to.hz())) / f64::from(from.hz().min(to.hz())) / 2.0;
            let points: Vec<String> = (1..600)
                .map(|step| f64::from(step) / 600.0 * self.x_max)
                .take_while(|&fraction| fraction < nyquist)
                // Where a frequency folds to 0 Hz or to the middle of the lower rate there is no phase to fit.
                .filter(|fraction| (fraction * 2.0 - (fraction * 2.0).round()).abs() > 0.004)
                .map(|fraction| format!("{:.1},{:.1}", x(fraction), y(gain_db(from, to, fraction))))
                .collect();
            let colour = COLOURS[index % COLOURS.len()];
            let (label_x, label_y) = (LEFT + WIDTH + 14.0, self.top + 14.0 + 20.0 * index as f64);
            write!(
                svg,
                "<polyline points='{}' fill='none' stroke='{colour}' stroke-width='1.3'/>\
                 <text x='{label_x}' y='{label_y}' fill='{colour}'>{} to {} kHz</text>",
                points.join(" "),
                from.hz() / 1_000,
                to.hz() / 1_000,
            )
            .unwrap();
        }
        write!(
            svg,
            "<rect x='{LEFT}' y='{}' width='{WIDTH}' height='{HEIGHT}' fill='none' stroke='#444'/>\
             <text x='{}' y='{}' text-anchor='end'>frequency / lower rate</text>",
            self.top,
            LEFT + WIDTH + 180.0,
            self.top + HEIGHT + 16.0,
        )
        .unwrap();
    }

    fn x(&self, fraction: f64) -> f64 {
        LEFT + WIDTH * fraction / self.x_max
    }

    fn y(&self, db: f64) -> f64 {
        let (low, high) = self.y;
        self.top + HEIGHT * (high - db.clamp(low, high)) / (high - low)
    }
}
