//! A file of broker settings: Kafka's keys and their values, in YAML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// More than any such file has.
const MAX_BYTES: u64 = 1024 * 1024;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error(
        "the configuration file {} is not a list of Kafka's keys and values, such as \"num.partitions: 3\": {source}",
        path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_yaml_ng::Error,
    },
}

/// A value as YAML reads it; Kafka's values are texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
}

impl Value {
    fn into_text(self) -> String {
        match self {
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Text(value) => value,
        }
    }
}

/// The settings in the file, by key.
///
/// # Errors
/// [`ConfigFileError`] names the file and the place.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>, ConfigFileError> {
    let io = |source| ConfigFileError::Io { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > MAX_BYTES {
        return Err(io(std::io::Error::other(format!("it has {length} bytes, more than {MAX_BYTES}"))));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let values: Option<BTreeMap<String, Value>> = serde_yaml_ng::from_str(&text)
        .map_err(|source| ConfigFileError::Content { path: path.to_owned(), source })?;
    Ok(values.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_text())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_read_and_anything_else_is_refused_with_the_files_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("broker.yaml");
        let read_text = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let read_back = read_text(
            "# comment\nnum.partitions: 3\nlog.cleaner.io.buffer.load.factor: 0.9\ndelete.topic.enable: false\n\
             broker.rack: \"a\"\n",
        );
        let pairs: Vec<(String, String)> = read_back.unwrap().into_iter().collect();
        let expected = [
            ("broker.rack", "a"),
            ("delete.topic.enable", "false"),
            ("log.cleaner.io.buffer.load.factor", "0.9"),
            ("num.partitions", "3"),
        ];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(read_text("").unwrap().is_empty());
        for bad in ["- a\n", "num:\n  partitions: 3\n", "just text", "a: [1, 2]\n"] {
            let error = read_text(bad).unwrap_err().to_string();
            assert!(error.contains("broker.yaml"), "{bad:?}: {error}");
        }
        assert!(read(Path::new("/nowhere")).unwrap_err().to_string().starts_with("cannot read"));
    }
}
