//! One table of a document, read key by key.
//!
//! What is wrong goes into the document's findings and the reader gets a usable value or nothing, so that one run
//! tells every problem. [`Section::finish`] refuses the keys that nobody asked for.

use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, quote};
use super::shown::{shown_secret, shown_url};
use super::spelling::nearest;

/// A value with its place.
#[derive(Debug, Clone)]
pub(super) struct Located<T> {
    pub(super) value: T,
    /// The key with its tables.
    pub(super) key: String,
    span: Range<usize>,
}

/// One entry of a list that takes texts and tables.
pub(super) enum Entry<'a> {
    Text(Located<String>),
    Section(Section<'a>),
}

/// One table of a document.
pub(super) struct Section<'a> {
    document: &'a Document,
    name: String,
    span: Range<usize>,
    /// None: the file does not have the table, and every key its default.
    table: Option<&'a DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The table of the whole file.
    pub(super) fn root(document: &'a Document, table: &'a Spanned<DeTable<'a>>) -> Self {
        Section {
            document,
            name: String::new(),
            span: 0..0,
            table: Some(table.get_ref()),
            known: Vec::new(),
        }
    }

    /// The document, for paths.
    pub(super) fn document(&self) -> &'a Document {
        self.document
    }

    /// The full name of a key here.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// A text, if there is one.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.value(key)?;
        let text = self
            .typed(key, value, DeValue::as_str, "a text in quotes")?
            .to_owned();
        self.set(key, quote(&text), Some(value.span()));
        Some(self.located(key, value, text))
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<Located<String>> {
        self.require(key);
        self.text(key)
    }

    /// A text that is not shown among the effective values.
    pub(super) fn secret_text(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.value(key)?;
        let text = self
            .typed(key, value, DeValue::as_str, "a text in quotes")?
            .to_owned();
        self.set(key, shown_secret(&text), Some(value.span()));
        Some(self.located(key, value, text))
    }

    /// Tells that a key is missing, if it is.
    pub(super) fn require(&self, key: &'static str) {
        if !self.has(key) {
            let span = self.table.map(|_| self.span.clone());
            self.problem(span, self.key(key), "is missing".to_owned());
        }
    }

    /// A text that `parse` turns into a value; `allowed` says what it takes.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Located<T>> {
        let text = self.text(key)?;
        self.parse(text, quote, allowed, parse)
    }

    /// As [`Section::parsed`], of a URL whose path and query may hold a secret: they are shown nowhere.
    pub(super) fn parsed_url<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Located<T>> {
        let value = self.value(key)?;
        let text = self.typed(key, value, DeValue::as_str, "a text in quotes")?;
        self.set(key, shown_url(text), Some(value.span()));
        let located = self.located(key, value, text.to_owned());
        self.parse(located, shown_url, allowed, parse)
    }

    fn parse<T>(
        &self,
        text: Located<String>,
        show: fn(&str) -> String,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Located<T>> {
        let Located { value, key, span } = text;
        let parsed = parse(&value);
        if parsed.is_none() {
            let message = format!("{} is not allowed; allowed: {allowed}", show(&value));
            self.problem(Some(span.clone()), key.clone(), message);
        }
        Some(Located {
            value: parsed?,
            key,
            span,
        })
    }

    /// As [`Section::parsed`], with the default as the file would write it.
    pub(super) fn parsed_or<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
        (shown, default): (&str, T),
    ) -> T {
        let Some(written) = self.written(key, allowed, parse, shown) else {
            return default;
        };
        written.unwrap_or(default)
    }

    /// As [`Section::parsed_or`]; none if something else is written there: what depends on it can't be judged then.
    pub(super) fn parsed_or_none<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
        (shown, default): (&str, T),
    ) -> Option<T> {
        match self.written(key, allowed, parse, shown) {
            None => Some(default),
            Some(written) => written,
        }
    }

    /// None: the file does not have the key.
    fn written<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
        default: &str,
    ) -> Option<Option<T>> {
        if !self.has(key) {
            self.set(key, quote(default), None);
        }
        let written = self.parsed(key, allowed, parse);
        self.has(key)
            .then_some(written.map(|located| located.value))
    }

    /// A list of texts that `parse` turns into values; nothing if the key is absent.
    pub(super) fn parsed_list<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let items = self.typed(key, value, DeValue::as_array, "a list of texts")?;
        let mut parsed = Vec::new();
        let mut shown = Vec::new();
        for item in items.iter() {
            let Some(text) = self.typed(key, item, DeValue::as_str, "a list of texts") else {
                continue;
            };
            shown.push(quote(text));
            match parse(text) {
                Some(value) => parsed.push(value),
                None => {
                    let message = format!("{} is not allowed; allowed: {allowed}", quote(text));
                    self.problem(Some(item.span()), self.key(key), message);
                }
            }
        }
        self.set(key, format!("[{}]", shown.join(", ")), Some(value.span()));
        Some(parsed)
    }

    /// One text, or a list of them.
    pub(super) fn parsed_one_or_list<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        if self.value(key)?.get_ref().is_str() {
            return self
                .parsed(key, allowed, parse)
                .map(|located| vec![located.value]);
        }
        self.parsed_list(key, allowed, parse)
    }

    /// As [`Section::parsed_list`], with the default as the file would write it.
    pub(super) fn parsed_list_or<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
        default: &[&str],
    ) -> Vec<T> {
        if !self.has(key) {
            self.known.push(key);
            let shown: Vec<String> = default.iter().map(|text| quote(text)).collect();
            self.set(key, format!("[{}]", shown.join(", ")), None);
            return default.iter().filter_map(|text| parse(text)).collect();
        }
        self.parsed_list(key, allowed, parse).unwrap_or_default()
    }

    /// Refuses a list that is there and has nothing in it.
    pub(super) fn require_entries(&self, key: &'static str, what: &str) {
        let value = self.table.and_then(|table| table.get(key));
        if let Some(value) = value.filter(|value| {
            value
                .get_ref()
                .as_array()
                .is_some_and(|list| list.is_empty())
        }) {
            self.problem(
                Some(value.span()),
                self.key(key),
                format!("names no {what}; allowed: at least one"),
            );
        }
    }

    /// A whole number within `allowed`, if there is one.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Option<Located<u64>> {
        let value = self.value(key)?;
        let number = self.number(self.key(key), value, allowed)?;
        self.set(key, number.to_string(), Some(value.span()));
        Some(self.located(key, value, number))
    }

    /// A whole number within `allowed`, or the default.
    pub(super) fn integer_or(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        if !self.has(key) {
            self.set(key, default.to_string(), None);
        }
        self.integer(key, allowed)
            .map_or(default, |located| located.value)
    }

    /// A list of whole numbers within `allowed`, if there is one.
    pub(super) fn integers(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Option<Vec<u64>> {
        let value = self.value(key)?;
        let items = self.typed(key, value, DeValue::as_array, "a list of whole numbers")?;
        let numbers: Vec<u64> = items
            .iter()
            .filter_map(|item| self.number(self.key(key), item, allowed.clone()))
            .collect();
        self.set(key, format!("{numbers:?}"), Some(value.span()));
        Some(numbers)
    }

    /// `true` or `false`.
    pub(super) fn flag_or(&mut self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.value(key) else {
            self.set(key, default.to_string(), None);
            return default;
        };
        let Some(flag) = self.typed(key, value, DeValue::as_bool, "true or false") else {
            return default;
        };
        self.set(key, flag.to_string(), Some(value.span()));
        flag
    }

    /// A table in this one, if it is there.
    pub(super) fn section(&mut self, key: &'static str) -> Option<Section<'a>> {
        let value = self.value(key)?;
        let table = self.typed(key, value, DeValue::as_table, "a table")?;
        Some(self.child(self.key(key), value.span(), Some(table)))
    }

    /// A table in this one; an absent one has every default.
    pub(super) fn section_or_default(&mut self, key: &'static str) -> Section<'a> {
        match self.section(key) {
            Some(section) => section,
            None => self.child(self.key(key), self.span.clone(), None),
        }
    }

    /// The tables of a list `[[key]]`, at most `count_max`.
    pub(super) fn sections(&mut self, key: &'static str, count_max: usize) -> Vec<Section<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(items) = self.typed(key, value, DeValue::as_array, "a list of tables") else {
            return Vec::new();
        };
        if items.len() > count_max {
            self.refuse_count(key, value, items.len(), count_max);
            return Vec::new();
        }
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let name = format!("{}[{index}]", self.key(key));
            if let Some(table) = self.typed(key, item, DeValue::as_table, "a list of tables") {
                sections.push(self.child(name, item.span(), Some(table)));
            }
        }
        sections
    }

    /// The entries of a list of texts and tables, at most `count_max`; none if the key is absent.
    pub(super) fn texts_and_sections(
        &mut self,
        key: &'static str,
        count_max: usize,
    ) -> Vec<Entry<'a>> {
        const WANTED: &str = "a list of texts and tables";
        let Some(value) = self.value(key) else {
            self.set(key, "[]", None);
            return Vec::new();
        };
        let Some(items) = self.typed(key, value, DeValue::as_array, WANTED) else {
            return Vec::new();
        };
        if items.is_empty() {
            self.set(key, "[]", Some(value.span()));
        }
        if items.len() > count_max {
            self.refuse_count(key, value, items.len(), count_max);
            return Vec::new();
        }
        let mut entries = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let name = format!("{}[{index}]", self.key(key));
            match item.get_ref() {
                DeValue::String(text) => {
                    let text = text.to_string();
                    self.document
                        .record(name.clone(), quote(&text), Some(item.span()));
                    entries.push(Entry::Text(Located {
                        value: text,
                        key: name,
                        span: item.span(),
                    }));
                }
                DeValue::Table(table) => {
                    entries.push(Entry::Section(self.child(name, item.span(), Some(table))));
                }
                other => {
                    let message = format!("is {}; allowed: {WANTED}", type_name(other));
                    self.problem(Some(item.span()), name, message);
                }
            }
        }
        entries
    }

    /// The entries of a table whose keys are names and whose values are whole numbers within `allowed`.
    pub(super) fn named_integers(
        &mut self,
        key: &'static str,
        allowed: RangeInclusive<u64>,
    ) -> Vec<Located<(String, u64)>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(table) = self.typed(key, value, DeValue::as_table, "a table") else {
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (name, value) in table.iter() {
            let full_key = format!("{}.{}", self.key(key), name.get_ref());
            if let Some(number) = self.number(full_key.clone(), value, allowed.clone()) {
                self.document
                    .record(full_key.clone(), number.to_string(), Some(value.span()));
                entries.push(Located {
                    value: (name.get_ref().to_string(), number),
                    key: full_key,
                    span: name.span(),
                });
            }
        }
        entries
    }

    /// How many entries the file gives a table or a list, with whatever is wrong about them.
    pub(super) fn entry_count(&self, key: &str) -> usize {
        let value = self.table.and_then(|table| table.get(key));
        value.map_or(0, |value| match value.get_ref() {
            DeValue::Table(table) => table.len(),
            DeValue::Array(list) => list.len(),
            _ => 1,
        })
    }

    /// The entries of a table whose keys are names and whose values say where a secret is.
    pub(super) fn named_secret_texts(
        &mut self,
        key: &'static str,
        count_max: usize,
    ) -> Vec<(String, Located<String>)> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(table) = self.typed(key, value, DeValue::as_table, "a table") else {
            return Vec::new();
        };
        if table.len() > count_max {
            self.refuse_count(key, value, table.len(), count_max);
            return Vec::new();
        }
        let mut entries = Vec::new();
        for (name, value) in table.iter() {
            let full_key = format!("{}.{}", self.key(key), name.get_ref());
            let Some(text) = value.get_ref().as_str() else {
                let message = format!(
                    "is {}; allowed: a text in quotes",
                    type_name(value.get_ref())
                );
                self.problem(Some(value.span()), full_key, message);
                continue;
            };
            self.document
                .record(full_key.clone(), shown_secret(text), Some(value.span()));
            let located = Located {
                value: text.to_owned(),
                key: full_key,
                span: value.span(),
            };
            entries.push((name.get_ref().to_string(), located));
        }
        entries
    }

    /// Refuses a key that is known but not for here and now, with the reason.
    pub(super) fn refuse(&mut self, key: &'static str, message: &str) {
        if let Some(value) = self.value(key) {
            let span = self.key_span(key).unwrap_or(value.span());
            self.problem(Some(span), self.key(key), message.to_owned());
        }
    }

    /// Tells a default that depends on the machine.
    pub(super) fn record_default(&self, key: &str, value: String) {
        self.set(key, value, None);
    }

    /// Something is wrong with a value.
    pub(super) fn wrong<T>(&self, at: &Located<T>, message: impl Into<String>) {
        self.problem(Some(at.span.clone()), at.key.clone(), message.into());
    }

    /// Something is wrong with a key that may have its default.
    pub(super) fn wrong_key(&self, key: &'static str, message: impl Into<String>) {
        let span = self
            .table
            .and_then(|table| table.get(key))
            .map(Spanned::span);
        self.problem(
            span.or(Some(self.span.clone())),
            self.key(key),
            message.into(),
        );
    }

    /// Something is worth a warning.
    pub(super) fn warn(&self, key: &'static str, message: impl Into<String>) {
        let span = self
            .table
            .and_then(|table| table.get(key))
            .map_or(self.span.clone(), Spanned::span);
        let position = self.table.map(|_| span);
        self.document
            .add_warning(position, self.key(key), message.into());
    }

    /// Refuses the keys that nobody asked for.
    pub(super) fn finish(&self) {
        let Some(table) = self.table else { return };
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let hint = match nearest(name, &self.known) {
                Some(known) => format!("; did you mean \"{known}\"?"),
                None => {
                    let mut known = self.known.clone();
                    known.dedup();
                    format!("; allowed: {}", known.join(", "))
                }
            };
            self.problem(
                Some(key.span()),
                self.key(name),
                format!("unknown key{hint}"),
            );
        }
    }

    fn child(
        &self,
        name: String,
        span: Range<usize>,
        table: Option<&'a DeTable<'a>>,
    ) -> Section<'a> {
        Section {
            document: self.document,
            name,
            span,
            table,
            known: Vec::new(),
        }
    }

    fn refuse_count(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        count: usize,
        count_max: usize,
    ) {
        let message = format!("{count} entries are too many; allowed: at most {count_max}");
        self.problem(Some(value.span()), self.key(key), message);
    }

    /// Does the file have this key?
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?.get(key)
    }

    fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table?.get_key_value(key).map(|(key, _)| key.span())
    }

    fn located<T>(&self, key: &str, spanned: &Spanned<DeValue<'_>>, value: T) -> Located<T> {
        Located {
            value,
            key: self.key(key),
            span: spanned.span(),
        }
    }

    fn typed<'v, T>(
        &self,
        key: &str,
        value: &'v Spanned<DeValue<'a>>,
        as_type: impl Fn(&'v DeValue<'a>) -> Option<T>,
        wanted: &str,
    ) -> Option<T> {
        let typed = as_type(value.get_ref());
        if typed.is_none() {
            let message = format!("is {}; allowed: {wanted}", type_name(value.get_ref()));
            self.problem(Some(value.span()), self.key(key), message);
        }
        typed
    }

    fn number(
        &self,
        key: String,
        value: &Spanned<DeValue<'_>>,
        allowed: RangeInclusive<u64>,
    ) -> Option<u64> {
        let range = format!(
            "a whole number from {} to {}",
            allowed.start(),
            allowed.end()
        );
        let Some(integer) = value.get_ref().as_integer() else {
            let message = format!("is {}; allowed: {range}", type_name(value.get_ref()));
            self.problem(Some(value.span()), key, message);
            return None;
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if allowed.contains(&number) => Some(number),
            _ => {
                self.problem(
                    Some(value.span()),
                    key,
                    format!("{integer} is out of range; allowed: {range}"),
                );
                None
            }
        }
    }

    fn set(&self, key: &str, value: impl Display, span: Option<Range<usize>>) {
        self.document.record(self.key(key), value.to_string(), span);
    }

    fn problem(&self, span: Option<Range<usize>>, key: String, message: String) {
        self.document.add_problem(span, key, message);
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
