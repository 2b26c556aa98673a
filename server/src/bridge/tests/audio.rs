//! What is heard at the sink is what the source said.

use codecs::g711::{self, Law};
use codecs::opus::{Conditions, Encoder, EncoderConfig, Limits};

use super::*;

/// Signal to noise in dB of `heard` against `said` at the best delay up to `delay_max` samples and the best gain.
fn snr_db(said: &[i16], heard: &[i16], delay_max: usize) -> f64 {
    let span = said.len().min(heard.len()) - delay_max;
    let said = &said[..span];
    (0..=delay_max)
        .map(|delay| {
            let heard = &heard[delay..delay + span];
            let dot = |a: &[i16], b: &[i16]| -> f64 {
                a.iter()
                    .zip(b)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum()
            };
            let gain = dot(said, heard) / dot(heard, heard).max(1.0);
            let noise: f64 = said
                .iter()
                .zip(heard)
                .map(|(said, heard)| (f64::from(*said) - gain * f64::from(*heard)).powi(2))
                .sum();
            10.0 * (dot(said, said) / noise.max(1.0)).log10()
        })
        .fold(f64::NEG_INFINITY, f64::max)
}

/// A vowel of a kind: harmonics of a pitch that glides, so that only one delay fits.
fn speech_like(samples: usize) -> Vec<i16> {
    let mut phase = 0.0;
    (0..samples)
        .map(|n| {
            let seconds = n as f64 / 8_000.0;
            let pitch_hz = 120.0 + 40.0 * (std::f64::consts::TAU * 0.7 * seconds).sin();
            phase += std::f64::consts::TAU * pitch_hz / 8_000.0;
            let harmonics: f64 = (1..=8)
                .map(|k| (phase * f64::from(k)).sin() / f64::from(k))
                .sum();
            (harmonics * 5_000.0) as i16
        })
        .collect()
}

/// Sends PCMU through the chain of codecs and gives the samples that come out as PCMU at its end.
fn through(chain: &[Codec], said: &[i16]) -> Vec<i16> {
    let mut packets: Vec<(u32, Vec<u8>)> = said
        .chunks_exact(160)
        .zip(0..)
        .map(|(frame, n)| (n * 160, pcmu(frame)))
        .collect();
    for pair in chain.windows(2) {
        let mut harness = Harness::new(&format(pair[0]), &format(pair[1]));
        for ((timestamp, payload), sequence) in packets.iter().zip(0..) {
            harness.audio(sequence, *timestamp, payload);
            harness.pass(20);
        }
        packets = harness
            .seen
            .into_iter()
            .map(|seen| (seen.ticks, seen.payload))
            .collect();
    }
    let mut heard = Vec::new();
    for (_, payload) in packets {
        let mut pcm = vec![0; payload.len()];
        g711::decode(Law::Mu, &payload, &mut pcm);
        heard.extend(pcm);
    }
    heard
}

#[test]
fn pcm_chains_keep_the_waveform() {
    let said = speech_like(16_000);
    let [narrow, wide] = [SampleRate::Hz8000, SampleRate::Hz24000].map(Codec::L16);
    let chains: [&[Codec]; 5] = [
        &[Codec::Pcmu, Codec::Pcma, Codec::Pcmu],
        &[Codec::Pcmu, L16, Codec::Pcmu],
        &[Codec::Pcmu, narrow, Codec::Pcmu],
        &[Codec::Pcmu, wide, narrow, Codec::Pcmu],
        &[Codec::Pcmu, L16, Codec::Pcma, Codec::Pcmu],
    ];
    for chain in chains {
        let heard = through(chain, &said);
        assert_eq!(heard.len(), said.len(), "{chain:?}");
        let snr_db = snr_db(&said, &heard, 240);
        assert!(snr_db >= 30.0, "{chain:?}: {snr_db:.1} dB");
    }
}

/// Opus keeps no waveform: its filters turn the phase. A tone comes out as that tone at its level, with little beside.
#[test]
fn opus_chains_keep_a_tone() {
    let chains: [&[Codec]; 2] = [
        &[Codec::Pcmu, Codec::Opus, Codec::Pcmu],
        &[Codec::Pcmu, Codec::Opus, L16, Codec::Pcmu],
    ];
    for chain in chains {
        for frequency_hz in [440.0, 1_000.0, 3_000.0] {
            let said = tone(8_000, frequency_hz, 16_000);
            let heard = through(chain, &said);
            assert_eq!(heard.len(), said.len(), "{chain:?}");
            let (level_db, snr_db) = tone_in(&heard[8_000..], frequency_hz);
            let name = format!("{chain:?} {frequency_hz} Hz: {level_db:.1} dB, {snr_db:.1} dB");
            assert!(level_db.abs() < 2.0 && snr_db >= 15.0, "{name}");
        }
    }
}

/// Level of a tone against [`tone`] and its distance to the rest, both in dB.
fn tone_in(heard: &[i16], frequency_hz: f64) -> (f64, f64) {
    let step = std::f64::consts::TAU * frequency_hz / 8_000.0;
    let (mut sine, mut cosine, mut energy) = (0.0, 0.0, 0.0);
    for (n, sample) in heard.iter().enumerate() {
        let sample = f64::from(*sample);
        sine += sample * (step * n as f64).sin();
        cosine += sample * (step * n as f64).cos();
        energy += sample * sample;
    }
    let samples = heard.len() as f64;
    let tone_energy = 2.0 * (sine * sine + cosine * cosine) / samples;
    let amplitude = (2.0 * tone_energy / samples).sqrt();
    let rest = (energy - tone_energy).max(1.0);
    (
        20.0 * (amplitude / 12_000.0).log10(),
        10.0 * (tone_energy / rest).log10(),
    )
}

/// Syllables come out when they were said, and as loud.
#[test]
fn opus_chains_keep_the_rhythm() {
    let said: Vec<_> = speech_like(32_000)
        .into_iter()
        .enumerate()
        .map(|(n, sample)| {
            let syllable = (std::f64::consts::TAU * 3.1 * n as f64 / 8_000.0)
                .sin()
                .abs();
            (f64::from(sample) * (0.02 + syllable)) as i16
        })
        .collect();
    let heard = through(&[Codec::Pcmu, Codec::Opus, Codec::Pcmu], &said);
    let levels = |pcm: &[i16]| -> Vec<f64> {
        pcm.chunks_exact(160)
            .map(|frame| {
                let energy: f64 = frame.iter().map(|sample| f64::from(*sample).powi(2)).sum();
                10.0 * (energy + 1_000.0).log10()
            })
            .collect()
    };
    let delay = 52; // libopus at 8 kHz looks 6.5 ms ahead.
    let (said, heard) = (
        levels(&said[..31_680]),
        levels(&heard[delay..31_680 + delay]),
    );
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (said_mean, heard_mean) = (mean(&said), mean(&heard));
    let (mut both, mut said_alone, mut heard_alone) = (0.0, 0.0, 0.0);
    for (said, heard) in said.iter().zip(&heard) {
        both += (said - said_mean) * (heard - heard_mean);
        said_alone += (said - said_mean).powi(2);
        heard_alone += (heard - heard_mean).powi(2);
    }
    let likeness = both / (said_alone * heard_alone).sqrt();
    assert!(likeness >= 0.95, "{likeness:.3}");
    assert!((said_mean - heard_mean).abs() < 1.5);
}

#[test]
fn a_forced_opus_chain_speaks_opus() {
    let mut harness =
        Harness::with_options(&format(Codec::Opus), &format(Codec::Opus), options(true));
    for (packet, index) in opus_packets(20, 20).iter().zip(0u32..) {
        harness.audio(index as u16, index * 960, packet);
    }
    assert_eq!(harness.direction.plan().to_string(), "opus>pcm48k>opus");
    let ticks: Vec<_> = harness.audio_seen().iter().map(|seen| seen.1).collect();
    assert_eq!(ticks, (0..20).map(|n| n * 960).collect::<Vec<_>>());
}

#[test]
fn a_sink_that_loses_packets_gets_fec() {
    let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Opus));
    let said = speech_like(16_000);
    for (frame, index) in said.chunks_exact(160).zip(0u32..) {
        if index == 50 {
            harness.direction.adapt(
                &Limits::default(),
                &Conditions {
                    available_bps: 48_000,
                    loss_fraction: 0.08,
                    cpu_is_scarce: false,
                },
            );
        }
        harness.audio(index as u16, index * 160, &pcmu(frame));
        harness.pass(20);
    }
    let with_fec = |seen: &[Seen]| {
        seen.iter()
            .filter(|seen| codecs::opus::has_lbrr(&seen.payload))
            .count()
    };
    assert_eq!(with_fec(&harness.seen[..50]), 0);
    assert!(with_fec(&harness.seen[50..]) > 25);
}

/// What the operator allows and what the CPU has left reaches the encoder: its packets are those of an encoder that works
/// like that from the start.
#[test]
fn the_operators_complexity_works_until_cpu_is_scarce() {
    let said = speech_like(8_000);
    let packets_at = |complexity| {
        let mut encoder = Encoder::new(EncoderConfig {
            complexity,
            ..EncoderConfig::narrowband()
        })
        .unwrap();
        said.chunks_exact(160).map(move |frame| {
            let mut law = pcmu(frame);
            let mut pcm = [0; 160];
            g711::decode(Law::Mu, &law, &mut pcm);
            law.resize(1_276, 0);
            let len = encoder.encode(&pcm, &mut law).unwrap();
            law.truncate(len);
            law
        })
    };
    for (cpu_is_scarce, complexity) in [(false, 6), (true, 0)] {
        let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Opus));
        let limits = Limits {
            complexity_max: Some(6),
            ..Limits::default()
        };
        let conditions = Conditions {
            available_bps: u32::MAX,
            loss_fraction: 0.0,
            cpu_is_scarce,
        };
        harness.direction.adapt(&limits, &conditions);
        for (frame, index) in said.chunks_exact(160).zip(0u32..) {
            harness.audio(index as u16, index * 160, &pcmu(frame));
            harness.pass(20);
        }
        assert_eq!(harness.seen.len(), 50);
        for (seen, expected) in harness.seen.iter().zip(packets_at(complexity)) {
            assert!(seen.payload == expected, "complexity {complexity}");
        }
    }
}

/// A silent source costs no encoder: packets of one byte go on in its place, without a gap, until there is something to hear.
#[test]
fn silence_is_sent_but_not_encoded() {
    let voice = pcmu(&speech_like(8_000));
    let silence = [Law::Mu.silence(); 160];
    for gate in [true, false] {
        let mut harness = Harness::new(&format(Codec::Pcmu), &format(Codec::Opus));
        let limits = Limits {
            voice_activity_gate: gate,
            ..Limits::default()
        };
        let conditions = Conditions {
            available_bps: u32::MAX,
            loss_fraction: 0.0,
            cpu_is_scarce: false,
        };
        harness.direction.adapt(&limits, &conditions);
        let frames = std::iter::repeat_n(&silence[..], 100).chain(voice.chunks_exact(160));
        for (frame, index) in frames.zip(0_u32..) {
            harness.audio(index as u16, index * 160, frame);
            harness.pass(20);
        }
        let seen = harness.audio_seen();
        assert_eq!(seen.len(), 150);
        for (packet, index) in seen.iter().zip(0_u32..) {
            assert_eq!(
                (packet.0, packet.1, packet.2),
                (index as u16, index * 960, index == 0)
            );
        }
        let silent = |from: usize, to: usize| {
            harness.seen[from..to]
                .iter()
                .filter(|seen| seen.payload.len() == 1)
                .count()
        };
        assert_eq!(harness.statistics().silent, silent(0, 150) as u64);
        match gate {
            true => assert!(silent(0, 100) > 75, "{} of 100", silent(0, 100)),
            false => assert_eq!(silent(0, 100), 0),
        }
        assert_eq!(
            silent(100, 150),
            0,
            "a voice is encoded from its first packet on"
        );
    }
}
