//! Configuration values as Kafka writes them: types, accepted ranges, reading, and the entries that DescribeConfigs
//! shows. Topic keys ([`crate::topic_config`]) and broker keys stand on the same ground.

/// The type of a configuration key (`org.apache.kafka.common.config.ConfigDef.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigType {
    /// `true` or `false`, in any case.
    Boolean,
    /// Text.
    String,
    /// 32-bit signed integer.
    Int,
    /// 16-bit signed integer.
    Short,
    /// 64-bit signed integer.
    Long,
    /// Floating-point number.
    Double,
    /// Texts separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
}

impl ConfigType {
    /// The type's number in a DescribeConfigs response (`DescribeConfigsResponse.ConfigType`).
    pub fn id(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// Values of this type are never shown to anybody.
    pub fn is_sensitive(self) -> bool {
        self == Self::Password
    }
}

/// What a key accepts beyond its type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Accepts {
    /// Every value of the type.
    Any,
    /// Integers but 0.
    NotZero,
    /// Integers from this one up.
    AtLeast(i64),
    /// Integers from the first to the second, both included.
    Between(i64, i64),
    /// The first integer, or one from the second to the third.
    OrBetween(i64, i64, i64),
    /// Numbers from the first to the second, both included.
    Fraction(f64, f64),
    /// One of these words; of a list, each element.
    OneOf(&'static [&'static str]),
    /// One of these words, in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// `*`, or `partition:broker` pairs: the replicas that a throttle is for.
    ThrottledReplicas,
}

/// A value that was read and found acceptable.
#[derive(Debug, Clone, PartialEq)]
pub enum ConfigValue {
    /// Of [`ConfigType::Boolean`].
    Boolean(bool),
    /// Of [`ConfigType::Int`], [`ConfigType::Short`] and [`ConfigType::Long`].
    Integer(i64),
    /// Of [`ConfigType::Double`].
    Double(f64),
    /// Of [`ConfigType::String`], [`ConfigType::Class`] and [`ConfigType::Password`].
    Text(String),
    /// Of [`ConfigType::List`].
    List(Vec<String>),
}

impl ConfigValue {
    /// The boolean in it, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer in it, if it is one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The number in it, if it is one with a fraction.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// The text in it, if it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            _ => None,
        }
    }

    /// The elements in it, if it is a list.
    pub fn as_list(&self) -> Option<&[String]> {
        match self {
            Self::List(value) => Some(value),
            _ => None,
        }
    }
}

impl std::fmt::Display for ConfigValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Double(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::List(value) => f.write_str(&value.join(",")),
        }
    }
}

/// Reads `text` as a value of `config_type` within what `accepts` allows. White space around it (and around the
/// elements of a list) is dropped, as Kafka does. `None`: not such a value; [`accepted`] says what is.
pub fn parse(config_type: ConfigType, accepts: Accepts, text: &str) -> Option<ConfigValue> {
    let text = text.trim();
    let value = match config_type {
        ConfigType::Boolean if text.eq_ignore_ascii_case("true") => ConfigValue::Boolean(true),
        ConfigType::Boolean if text.eq_ignore_ascii_case("false") => ConfigValue::Boolean(false),
        ConfigType::Boolean => return None,
        ConfigType::Int => ConfigValue::Integer(text.parse::<i32>().ok()?.into()),
        ConfigType::Short => ConfigValue::Integer(text.parse::<i16>().ok()?.into()),
        ConfigType::Long => ConfigValue::Integer(text.parse::<i64>().ok()?),
        ConfigType::Double => {
            ConfigValue::Double(text.parse::<f64>().ok().filter(|value| value.is_finite())?)
        }
        ConfigType::String | ConfigType::Class | ConfigType::Password => ConfigValue::Text(text.to_owned()),
        ConfigType::List if text.is_empty() => ConfigValue::List(Vec::new()),
        ConfigType::List => {
            ConfigValue::List(text.split(',').map(|element| element.trim().to_owned()).collect())
        }
    };
    allows(accepts, &value).then_some(value)
}

fn allows(accepts: Accepts, value: &ConfigValue) -> bool {
    match (accepts, value) {
        (Accepts::Any, _) => true,
        (Accepts::NotZero, ConfigValue::Integer(value)) => *value != 0,
        (Accepts::AtLeast(min), ConfigValue::Integer(value)) => *value >= min,
        (Accepts::Between(min, max), ConfigValue::Integer(value)) => (min..=max).contains(value),
        (Accepts::OrBetween(or, min, max), ConfigValue::Integer(value)) => {
            *value == or || (min..=max).contains(value)
        }
        (Accepts::Fraction(min, max), ConfigValue::Double(value)) => (min..=max).contains(value),
        (Accepts::OneOf(words), ConfigValue::Text(value)) => words.contains(&value.as_str()),
        (Accepts::OneOf(words), ConfigValue::List(values)) => {
            !values.is_empty() && values.iter().all(|value| words.contains(&value.as_str()))
        }
        (Accepts::OneOfAnyCase(words), ConfigValue::Text(value)) => {
            words.iter().any(|word| word.eq_ignore_ascii_case(value))
        }
        (Accepts::ThrottledReplicas, ConfigValue::List(values)) => match values.as_slice() {
            [all] if all == "*" => true,
            pairs => pairs.iter().all(|pair| {
                pair.split_once(':').is_some_and(|(partition, broker)| {
                    [partition, broker].iter().all(|number| number.parse::<u32>().is_ok())
                })
            }),
        },
        _ => false,
    }
}

/// Says, to stand after "expected", which values [`parse`] takes.
pub fn accepted(config_type: ConfigType, accepts: Accepts) -> String {
    match accepts {
        Accepts::NotZero => "a whole number that is not 0".to_owned(),
        Accepts::AtLeast(min) => format!("a whole number from {min} to {}", largest(config_type)),
        Accepts::Between(min, max) => format!("a whole number from {min} to {max}"),
        Accepts::OrBetween(or, min, max) => format!("{or} or a whole number from {min} to {max}"),
        Accepts::Fraction(min, max) => format!("a number from {min} to {max}"),
        Accepts::OneOf(words) if config_type == ConfigType::List => {
            format!("a comma-separated list of {}", words.join(", "))
        }
        Accepts::OneOf(words) | Accepts::OneOfAnyCase(words) => format!("one of {}", words.join(", ")),
        Accepts::ThrottledReplicas => "* or a comma-separated list of partition:broker pairs".to_owned(),
        Accepts::Any => match config_type {
            ConfigType::Boolean => "true or false".to_owned(),
            ConfigType::Int => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
            ConfigType::Short => format!("a whole number from {} to {}", i16::MIN, i16::MAX),
            ConfigType::Long => format!("a whole number from {} to {}", i64::MIN, i64::MAX),
            ConfigType::Double => "a number".to_owned(),
            ConfigType::List => "a comma-separated list".to_owned(),
            ConfigType::Class => "the name of a class".to_owned(),
            ConfigType::String | ConfigType::Password => "text".to_owned(),
        },
    }
}

fn largest(config_type: ConfigType) -> i64 {
    match config_type {
        ConfigType::Short => i16::MAX.into(),
        ConfigType::Int => i32::MAX.into(),
        _ => i64::MAX,
    }
}

/// Where a value in effect comes from (`DescribeConfigsResponse.ConfigSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    DynamicTopicConfig,
    /// Set on the broker while it ran.
    DynamicBrokerConfig,
    /// Set for all brokers while they ran.
    DynamicDefaultBrokerConfig,
    /// Given to the broker at its start.
    StaticBrokerConfig,
    /// Nobody set it.
    DefaultConfig,
}

impl ConfigSource {
    /// The source's number in a DescribeConfigs response from version 1 on.
    pub fn id(self) -> i8 {
        match self {
            Self::DynamicTopicConfig => 1,
            Self::DynamicBrokerConfig => 2,
            Self::DynamicDefaultBrokerConfig => 3,
            Self::StaticBrokerConfig => 4,
            Self::DefaultConfig => 5,
        }
    }
}

/// One of the places that a value could come from, as DescribeConfigs lists them: the one in effect first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSynonym {
    /// The key under which the value was set there.
    pub name: &'static str,
    /// The value as it was set there; `None` if it is sensitive.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// One key as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value in effect; `None` if there is none or it is sensitive.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether the value can be changed only by a restart.
    pub read_only: bool,
    /// Whether the value is withheld.
    pub sensitive: bool,
    /// The key's type.
    pub config_type: ConfigType,
    /// What the key does, in a sentence or two.
    pub documentation: &'static str,
    /// Every place that gives the key a value, the one in effect first.
    pub synonyms: Vec<ConfigSynonym>,
}

/// Names longer than this are not compared with known keys; the longest known key has less than 70 characters.
const LONGEST_COMPARED: usize = 100;

/// Of `known`, the key that somebody who typed `name` most likely meant, or `None` if nothing is near. Near is: the
/// words of the one are among those of the other (`retention` is near `retention.ms`), or a third of the letters at
/// most differ.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LONGEST_COMPARED || name.is_empty() {
        return None;
    }
    let name = name.to_ascii_lowercase().replace(['_', '-'], ".");
    let allowed = (name.len() / 3).max(1);
    known
        .into_iter()
        .filter_map(|candidate| {
            // Comparing costs the product of the lengths, so it is left out where it cannot find anything.
            let alike = name.len().abs_diff(candidate.len()) <= allowed;
            let covered = covers(&name, candidate) || covers(candidate, &name);
            let distance = (alike || covered).then(|| edit_distance(&name, candidate))?;
            (covered || distance <= allowed).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Every dot-separated word of `part` is a word of `whole`.
fn covers(whole: &str, part: &str) -> bool {
    part.split('.').all(|word| whole.split('.').any(|other| other == word))
}

/// Levenshtein's distance in characters, with a swap of neighbours counted as one.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut previous_char = None;
    for (row, left_char) in left.chars().enumerate() {
        let mut current = vec![row + 1];
        for (column, right_char) in right.iter().enumerate() {
            let substituted = last[column] + usize::from(left_char != *right_char);
            let mut best = substituted.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = column > 0 && previous_char == Some(*right_char) && right[column - 1] == left_char;
            if swapped && !before_last.is_empty() {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
        previous_char = Some(left_char);
    }
    last.last().copied().unwrap_or(0)
}

/// `text`, shortened so that a message which quotes it stays readable whatever a client sent.
pub fn shortened(text: &str) -> String {
    const LONGEST_SHOWN: usize = 80;
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_within_type_and_range() {
        let read =
            |config_type, accepts, text| parse(config_type, accepts, text).and_then(|v| v.as_integer());
        assert_eq!(read(ConfigType::Int, Accepts::AtLeast(1), " 7 "), Some(7));
        assert_eq!(read(ConfigType::Int, Accepts::AtLeast(1), "0"), None);
        assert_eq!(read(ConfigType::Int, Accepts::Any, "2147483648"), None);
        assert_eq!(read(ConfigType::Short, Accepts::Any, "40000"), None);
        assert_eq!(read(ConfigType::Long, Accepts::Any, "9223372036854775807"), Some(i64::MAX));
        assert_eq!(read(ConfigType::Int, Accepts::Between(1, 9), "10"), None);
        assert_eq!(read(ConfigType::Int, Accepts::OrBetween(-1, 1, 9), "-1"), Some(-1));
        assert_eq!(read(ConfigType::Int, Accepts::OrBetween(-1, 1, 9), "0"), None);
        assert_eq!(read(ConfigType::Int, Accepts::Any, "1GB"), None);
        assert_eq!(read(ConfigType::Int, Accepts::Any, ""), None);
    }

    #[test]
    fn booleans_numbers_and_words_are_read_as_kafka_reads_them() {
        assert_eq!(parse(ConfigType::Boolean, Accepts::Any, "TRUE"), Some(ConfigValue::Boolean(true)));
        assert_eq!(parse(ConfigType::Boolean, Accepts::Any, "yes"), None);
        assert_eq!(
            parse(ConfigType::Double, Accepts::Fraction(0.0, 1.0), "0.25"),
            Some(ConfigValue::Double(0.25))
        );
        assert_eq!(parse(ConfigType::Double, Accepts::Fraction(0.0, 1.0), "1.5"), None);
        assert_eq!(parse(ConfigType::Double, Accepts::Any, "NaN"), None);
        assert_eq!(parse(ConfigType::String, Accepts::OneOf(&["lz4"]), "LZ4"), None);
        assert!(parse(ConfigType::String, Accepts::OneOfAnyCase(&["UPGRADE"]), "upgrade").is_some());
    }

    #[test]
    fn lists_are_cut_at_commas_and_each_element_is_checked() {
        let policies = Accepts::OneOf(&["compact", "delete"]);
        let both = parse(ConfigType::List, policies, "compact , delete").map(|value| value.to_string());
        assert_eq!(both.as_deref(), Some("compact,delete"));
        assert_eq!(parse(ConfigType::List, policies, "compact,shred"), None);
        assert_eq!(parse(ConfigType::List, policies, ""), None);
        assert_eq!(parse(ConfigType::List, Accepts::Any, ""), Some(ConfigValue::List(vec![])));
        for (text, good) in [("*", true), ("0:1,1:2", true), ("", true), ("0-1", false), ("0:x", false)] {
            assert_eq!(parse(ConfigType::List, Accepts::ThrottledReplicas, text).is_some(), good, "{text}");
        }
    }

    #[test]
    fn what_is_accepted_is_said_in_words() {
        assert_eq!(accepted(ConfigType::Int, Accepts::AtLeast(1)), "a whole number from 1 to 2147483647");
        assert_eq!(accepted(ConfigType::Boolean, Accepts::Any), "true or false");
        assert_eq!(
            accepted(ConfigType::List, Accepts::OneOf(&["compact", "delete"])),
            "a comma-separated list of compact, delete"
        );
    }

    #[test]
    fn nearest_finds_slips_of_the_finger_and_missing_words() {
        let known = ["retention.ms", "retention.bytes", "segment.bytes", "cleanup.policy"];
        let near = |name| nearest(name, known);
        assert_eq!(near("retension.ms"), Some("retention.ms"));
        assert_eq!(near("retentoin.ms"), Some("retention.ms"));
        assert_eq!(near("retention_bytes"), Some("retention.bytes"));
        assert_eq!(near("policy"), Some("cleanup.policy"));
        assert_eq!(near("log.segment.bytes"), Some("segment.bytes"));
        assert_eq!(near("colour"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn a_swap_of_neighbours_is_one_edit() {
        assert_eq!(edit_distance("abcd", "abdc"), 1);
        assert_eq!(edit_distance("abcd", "abc"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn long_texts_are_shortened_at_a_character() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened(&"ä".repeat(500)).chars().count(), 81);
    }
}
