//! `judge`: two WAV files, one verdict.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use loadtest::audio::Audio;
use loadtest::judge::{Question, judge};

use super::BarName;
use super::terminal::verdict_coloured;

#[derive(Debug, Args)]
#[command(after_help = "\
A recording may begin before the speech, and at another level and rate. Its delay is judged only with --spoken-at-ms.

  clutchcall-loadtest judge loadtest/speech/alpha.wav heard.wav
  clutchcall-loadtest judge loadtest/speech/alpha.wav page.wav --bar chromium --looped --json")]
pub(super) struct JudgeArguments {
    /// What was said: a WAV file
    reference: PathBuf,
    /// What was heard: a WAV file
    recording: PathBuf,
    /// How good it has to be
    #[arg(long, value_enum, default_value_t = BarName::Opus)]
    bar: BarName,
    /// The reference was said over and over, and the recording begins anywhere in it
    #[arg(long)]
    looped: bool,
    /// When the reference was said, in ms from the recording's beginning
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    spoken_at_ms: Option<f64>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &JudgeArguments) -> Result<bool, Box<dyn Error>> {
    let reference = Audio::read_wav(&arguments.reference)?;
    let recording = Audio::read_wav(&arguments.recording)?;
    let mut question = Question::new(arguments.bar.into());
    if arguments.looped {
        question = question.looped();
    }
    question.spoken_at_ms = arguments.spoken_at_ms;
    let verdict = judge(&reference, &recording, &question)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&verdict)?);
    } else {
        println!("{}", verdict_coloured(&verdict.to_string(), verdict.pass));
    }
    Ok(verdict.pass)
}
