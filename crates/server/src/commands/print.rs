#![expect(clippy::print_stdout, reason = "standard output is what the commands are for")]

use serde_json::Value;

pub fn line(text: &str) {
    println!("{text}");
}

pub fn json(value: &Value) {
    println!("{value:#}");
}

/// Names and values in two columns, without what is not there.
pub fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Value)>) {
    let fields: Vec<(&str, String)> =
        fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, shown(value))).collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        println!("  {name:<width$}  {value}");
    }
}

/// Rows in columns, under their names.
pub fn table<const COLUMNS: usize>(head: [&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(head[column].len());
    let line = |cells: [&str; COLUMNS]| {
        let cells: Vec<String> =
            cells.iter().enumerate().map(|(column, cell)| format!("{cell:<width$}", width = width(column))).collect();
        println!("{}", cells.join("  ").trim_end());
    };
    line(head);
    rows.iter().for_each(|row| line(std::array::from_fn(|column| row[column].as_str())));
}

/// A value as a person reads it: text bare, a list with commas.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
