//! Makes `speech/alpha.wav` and `speech/bravo.wav` with espeak-ng: `cargo run -p loadtest --example make_speech`.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use loadtest::audio::Audio;

/// Silences between words and sentences are cut down to this, so that a gap of 200 ms in a recording is never speech's own.
const PAUSE_MS_MAX: usize = 180;
/// Level of the whole file.
const LEVEL_DBOV: f64 = -20.0;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("speech");
    let alpha = "Good morning, this is the front desk speaking. Your table for seven people is booked on Thursday \
                 evening, near the big window. Please bring the yellow ticket.";
    let bravo = "The quick shipment left Zurich at noon, and should be with you before the weekend. Should anything \
                 be damaged, keep the box and call us back.";
    make(&folder.join("alpha.wav"), "en-us+f3", 178, alpha)?;
    make(&folder.join("bravo.wav"), "en-gb+m7", 165, bravo)
}

fn make(path: &Path, voice: &str, words_per_minute: u32, text: &str) -> Result<(), Box<dyn Error>> {
    let raw = std::env::temp_dir().join(format!("clutchcall-speech-{}.wav", std::process::id()));
    let status = Command::new("espeak-ng")
        .args([
            "-v",
            voice,
            "-s",
            &words_per_minute.to_string(),
            "-g",
            "1",
            "-w",
        ])
        .arg(&raw)
        .arg(text)
        .status()?;
    if !status.success() {
        return Err("espeak-ng failed".into());
    }
    let mut speech = Audio::read_wav(&raw)?.resampled(16_000);
    std::fs::remove_file(&raw)?;
    shorten_pauses(&mut speech);
    level(&mut speech);
    println!(
        "{}: {:.0} ms, {:.1} dBov",
        path.display(),
        speech.duration_ms(),
        speech.level_dbov()
    );
    speech.write_wav(path)?;
    Ok(())
}

fn shorten_pauses(speech: &mut Audio) {
    let frame = speech.sample_rate_hz as usize / 100;
    let loudest = speech
        .samples
        .iter()
        .map(|s| s.unsigned_abs())
        .max()
        .unwrap_or(0);
    let mut kept = Vec::with_capacity(speech.samples.len());
    // As if a long pause went before: the file begins with a short breath only.
    let mut quiet_ms = PAUSE_MS_MAX - 20;
    for samples in speech.samples.chunks(frame) {
        let quiet = samples.iter().all(|s| s.unsigned_abs() < loudest / 100);
        quiet_ms = if quiet { quiet_ms + 10 } else { 0 };
        if quiet_ms <= PAUSE_MS_MAX {
            kept.extend_from_slice(samples);
        }
    }
    speech.samples = kept;
}

fn level(speech: &mut Audio) {
    let gain = 10f64.powf((LEVEL_DBOV - speech.level_dbov()) / 20.0);
    for sample in &mut speech.samples {
        *sample = (f64::from(*sample) * gain).round() as i16;
    }
}
