//! Estimated MOS by the E-model of ITU-T G.107 (06/2015) with its default values: what the listener of one direction
//! hears, from codec, packet loss and delay.
//!
//! It is an estimate for planning, not a judgement of the audio: it knows nothing of level, noise or clipping. The
//! scale is that of narrowband telephony (4.41 at best) for every codec, so that calls compare; a wideband call sounds
//! better than its number.

use crate::bridge::Codec;

/// `Ro`, basic signal-to-noise ratio, with the default values of G.107 table 3.
const RO: f64 = 94.77;
/// `Is`, simultaneous impairments, with the default values of G.107 table 3.
const IS: f64 = 1.41;
/// `No - RLR` with the default values of G.107: noise sum -61.18 dBm0p, receive loudness rating 2 dB.
const NO_MINUS_RLR: f64 = -61.18 - 2.0;
/// Default talker echo loudness rating, dB.
const TELR: f64 = 65.0;
/// Default weighted echo path loss, dB.
const WEPL: f64 = 110.0;

/// What the far end's jitter buffer is taken to hold, in ms.
pub const FAR_BUFFER_MS: f64 = 40.0;

/// Equipment impairment of a codec: `Ie` and packet-loss robustness `Bpl` (G.107 clause 3.5).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// `Ie` without loss.
    pub ie: f64,
    /// `Bpl` for random loss.
    pub bpl: f64,
}

impl Impairment {
    /// G.711 with packet-loss concealment: ITU-T G.113 (11/2007) appendix I, table I.3.
    pub const G711_WITH_PLC: Self = Self { ie: 0.0, bpl: 25.1 };
    /// Opus without in-band FEC.
    ///
    /// Neither G.113 nor its amendments give values for Opus. These are a fit of `Ie-eff` to PESQ (P.862.1) of
    /// libopus 1.6.1 at 8 kHz, 24 kb/s, complexity 0, human speech in three languages, random loss:
    /// 4.43 at 0 %, 3.58 at 3 %, 2.64 at 10 %. Good to about 0.2 MOS, and no ITU figures.
    pub const OPUS: Self = Self { ie: 2.0, bpl: 12.0 };
    /// Opus with in-band FEC that is really used; fitted like [`Impairment::OPUS`] at 32 kb/s: 4.38 at 0 %, 4.27 at
    /// 3 %, 3.99 at 10 %.
    pub const OPUS_WITH_FEC: Self = Self { ie: 2.0, bpl: 70.0 };
    /// Linear PCM with the concealment of G.711: no table names it; it can't be worse than G.711.
    pub const L16_WITH_PLC: Self = Self::G711_WITH_PLC;

    /// The impairment of `codec`; `fec`: lost Opus packets are mostly recovered by in-band FEC.
    pub fn of(codec: Codec, fec: bool) -> Self {
        match codec {
            Codec::Pcmu | Codec::Pcma => Self::G711_WITH_PLC,
            Codec::L16(_) => Self::L16_WITH_PLC,
            Codec::Opus if fec => Self::OPUS_WITH_FEC,
            Codec::Opus => Self::OPUS,
        }
    }

    /// `Ie-eff = Ie + (95 - Ie) * Ppl / (Ppl / BurstR + Bpl)` (G.107 clause 7.5), random loss (BurstR = 1).
    ///
    /// `loss_pct` is packet loss in percent; what is no number or outside 0..=100 is clamped.
    pub fn effective(self, loss_pct: f64) -> f64 {
        let loss_pct = clamp_or_zero(loss_pct, 100.0);
        self.ie + (95.0 - self.ie) * loss_pct / (loss_pct + self.bpl)
    }
}

/// One network section that a direction crosses: the codec on it and what is lost there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Section {
    /// The codec's impairment.
    pub impairment: Impairment,
    /// Packets lost on this section, in percent.
    pub loss_pct: f64,
    /// Round-trip time between us and the peer of this section in ms, by RTCP; 0 when unknown.
    pub round_trip_ms: f64,
}

/// One direction as its listener hears it: from the speaker to us, and from us to the listener.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Path {
    /// From the speaker's leg to us.
    pub source: Section,
    /// From us to the listener's leg.
    pub sink: Section,
    /// Whether we decode and encode again: then impairments add up (G.113), else the codec counts once with the
    /// losses of both sections.
    pub transcoded: bool,
    /// Packet duration towards the listener in ms.
    pub packetisation_ms: f64,
}

impl Path {
    /// Mouth-to-ear delay in ms: half of each round trip, packetisation and [`FAR_BUFFER_MS`].
    pub fn delay_ms(&self) -> f64 {
        const ROUND_TRIP_MS_MAX: f64 = 60_000.0;
        let halves = [self.source.round_trip_ms, self.sink.round_trip_ms]
            .map(|round_trip_ms| clamp_or_zero(round_trip_ms, ROUND_TRIP_MS_MAX) / 2.0);
        halves[0] + halves[1] + clamp_or_zero(self.packetisation_ms, 1_000.0) + FAR_BUFFER_MS
    }

    /// The MOS of this direction, 1.0..=4.5.
    pub fn mos(&self) -> f64 {
        let impairment = if self.transcoded {
            let source = self.source.impairment.effective(self.source.loss_pct);
            source + self.sink.impairment.effective(self.sink.loss_pct)
        } else {
            let arrives = |section: &Section| 1.0 - clamp_or_zero(section.loss_pct, 100.0) / 100.0;
            let loss_pct = 100.0 * (1.0 - arrives(&self.source) * arrives(&self.sink));
            self.sink.impairment.effective(loss_pct)
        };
        mos_of_rating(rating(self.delay_ms(), impairment))
    }
}

/// The transmission rating `R = Ro - Is - Id - Ie-eff` for a one-way delay in ms and an effective equipment impairment.
pub fn rating(delay_ms: f64, effective_impairment: f64) -> f64 {
    RO - IS - delay_impairment(delay_ms) - effective_impairment
}

/// The MOS of a rating (G.107 annex B), 1.0..=4.5.
pub fn mos_of_rating(rating: f64) -> f64 {
    if rating <= 0.0 {
        return 1.0;
    }
    if rating >= 100.0 {
        return 4.5;
    }
    let mos = 1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6;
    // The polynomial dips a little below 1 for ratings under 6.5.
    mos.clamp(1.0, 4.5)
}

/// `Id = Idte + Idle + Idd` (G.107 clause 7.4) for the same absolute delay on talker's, listener's and speech path.
fn delay_impairment(delay_ms: f64) -> f64 {
    let delay_ms = clamp_or_zero(delay_ms, 60_000.0);
    talker_echo(delay_ms) + listener_echo(2.0 * delay_ms) + absolute_delay(delay_ms)
}

/// `Idte`, talker echo.
fn talker_echo(delay_ms: f64) -> f64 {
    let terv = TELR - 40.0 * ((1.0 + delay_ms / 10.0) / (1.0 + delay_ms / 150.0)).log10()
        + 6.0 * (-0.3 * delay_ms * delay_ms).exp();
    let re = 80.0 + 2.5 * (terv - 14.0);
    let roe = -1.5 * NO_MINUS_RLR;
    let half = (roe - re) / 2.0;
    (half + (half * half + 100.0).sqrt() - 1.0) * (1.0 - (-delay_ms).exp())
}

/// `Idle`, listener echo.
fn listener_echo(round_trip_ms: f64) -> f64 {
    let rle = 10.5 * (WEPL + 7.0) * (round_trip_ms + 1.0).powf(-0.25);
    let half = (RO - rle) / 2.0;
    half + (half * half + 169.0).sqrt()
}

/// `Idd`, the delay itself.
fn absolute_delay(delay_ms: f64) -> f64 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    let sixth_root = |value: f64| value.powf(1.0 / 6.0);
    25.0 * (sixth_root(1.0 + x.powi(6)) - 3.0 * sixth_root(1.0 + (x / 3.0).powi(6)) + 2.0)
}

fn clamp_or_zero(value: f64, max: f64) -> f64 {
    if value.is_finite() {
        value.clamp(0.0, max)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, wanted: f64, tolerance: f64) -> bool {
        (value - wanted).abs() <= tolerance
    }

    #[test]
    fn default_values_give_the_rating_of_the_recommendation() {
        // G.107: all parameters at their defaults give R = 93.2, MOS 4.41.
        assert!(near(rating(0.0, 0.0), 93.2, 0.05), "{}", rating(0.0, 0.0));
        assert!(near(mos_of_rating(93.2), 4.41, 0.005));
    }

    #[test]
    fn ratings_map_to_the_mos_table_of_annex_b() {
        for (rating, mos) in [
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
        ] {
            assert!(
                near(mos_of_rating(rating), mos, 0.011),
                "{rating}: {}",
                mos_of_rating(rating)
            );
        }
        assert_eq!(mos_of_rating(-3.0), 1.0);
        assert_eq!(mos_of_rating(120.0), 4.5);
    }

    #[test]
    fn six_points() {
        let g711 = Impairment::G711_WITH_PLC;
        let opus = Impairment::OPUS;
        let fec = Impairment::OPUS_WITH_FEC;
        let path = |source, source_loss_pct, sink, sink_loss_pct, round_trip_ms, transcoded| Path {
            source: Section {
                impairment: source,
                loss_pct: source_loss_pct,
                round_trip_ms,
            },
            sink: Section {
                impairment: sink,
                loss_pct: sink_loss_pct,
                round_trip_ms: 0.0,
            },
            transcoded,
            packetisation_ms: 20.0,
        };
        let points = [
            (
                "G.711, clean",
                path(g711, 0.0, g711, 0.0, 20.0, false),
                4.37,
            ),
            ("G.711, 5 %", path(g711, 5.0, g711, 0.0, 20.0, false), 3.84),
            (
                "G.711, 600 ms",
                path(g711, 0.0, g711, 0.0, 600.0, false),
                3.40,
            ),
            (
                "Opus to G.711, clean",
                path(opus, 0.0, g711, 0.0, 20.0, true),
                4.32,
            ),
            (
                "Opus to G.711, 5 %",
                path(opus, 5.0, g711, 0.0, 20.0, true),
                3.20,
            ),
            (
                "Opus FEC to G.711, 5 %",
                path(fec, 5.0, g711, 0.0, 20.0, true),
                4.14,
            ),
        ];
        let estimated: Vec<_> = points
            .iter()
            .map(|(name, path, _)| (*name, path.mos()))
            .collect();
        for ((name, path, mos), _) in points.iter().zip(&estimated) {
            assert!(near(path.mos(), *mos, 0.005), "{name}: {estimated:?}");
        }
    }

    #[test]
    fn loss_on_both_sections_is_heard() {
        let section = |loss_pct| Section {
            impairment: Impairment::G711_WITH_PLC,
            loss_pct,
            round_trip_ms: 0.0,
        };
        let path = |source, sink| Path {
            source: section(source),
            sink: section(sink),
            transcoded: false,
            packetisation_ms: 20.0,
        };
        assert!(path(3.0, 3.0).mos() < path(3.0, 0.0).mos());
        assert!(near(path(3.0, 0.0).mos(), path(0.0, 3.0).mos(), 1e-9));
        let nonsense = path(f64::NAN, f64::INFINITY);
        assert!(near(nonsense.mos(), path(0.0, 0.0).mos(), 1e-9));
    }
}
