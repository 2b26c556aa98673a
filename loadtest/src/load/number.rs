//! How a report writes figures and the words of others.

/// A count, in groups of three digits.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        // Four digits are read at a glance.
        if at > 0 && (digits.len() - at).is_multiple_of(3) && digits.len() > 4 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// A measured value in three significant digits, without zeros at its end, never with an exponent.
pub fn short(value: f64) -> String {
    if !value.is_finite() {
        return "?".to_owned();
    }
    let size = value.abs();
    if size >= 9_999.5 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", count(size.round() as u64));
    }
    let decimals = match size {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        size if size >= 0.001 => 3,
        _ => 6,
    };
    let text = format!("{value:.decimals$}");
    let text = if decimals > 0 {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// The words of others on one line: a gateway's reason must not move a terminal's cursor or end a line.
pub fn one_line(text: &str) -> String {
    let spaced: String = text
        .chars()
        .map(|character| {
            if character.is_whitespace() {
                ' '
            } else {
                character
            }
        })
        .collect();
    spaced
        .trim()
        .chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}

/// "1 call", "2 calls".
pub fn calls(number: u64) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { "call" } else { "calls" }
    )
}

/// "1 core", "2 cores".
pub fn cores(number: u64) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { "core" } else { "cores" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_no_exponent() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (5.0, "5"),
            (3.298, "3.3"),
            (9.996, "10"),
            (12.34, "12.3"),
            (99.96, "100"),
            (123.4, "123"),
            (0.104, "0.104"),
            (0.000_02, "0.00002"),
            (1e-9, "0"),
            (-1.5, "-1.5"),
            (12_345.6, "12 346"),
            (-12_345.6, "-12 346"),
            (f64::NAN, "?"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn counts_are_grouped() {
        let texts = [0, 999, 5_000, 10_000, 1_234_567].map(count);
        assert_eq!(texts, ["0", "999", "5000", "10 000", "1 234 567"]);
        assert_eq!(calls(1), "1 call");
        assert_eq!(calls(10_000), "10 000 calls");
    }

    #[test]
    fn words_of_others_stay_on_one_line_and_move_no_cursor() {
        assert_eq!(
            one_line(" no\tmedia\r\nports \x1b[2J"),
            "no media  ports \u{fffd}[2J"
        );
    }
}
