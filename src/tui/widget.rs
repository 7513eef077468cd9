//! Parts that more than one screen draws: header, hints, fields, bars, Markdown. Each turns data into styled lines.

pub mod bar;
pub mod field;
pub mod header;
pub mod hints;
pub mod markdown;
pub mod report;
