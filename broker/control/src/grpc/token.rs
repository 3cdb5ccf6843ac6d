//! The token with which a broker shows that it may speak to the controller. Both sides read it from a file, again for
//! each session, so that it can be replaced while they run.

use std::path::Path;

use subtle::ConstantTimeEq;

/// More than any token has.
const LONGEST_FILE: u64 = 64 * 1024;

/// A token that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadTokenError {
    /// The file cannot be read.
    #[error("cannot read the token file {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// What is in it cannot be sent.
    #[error("the token file {path} must hold one line of visible ASCII characters")]
    Content {
        /// The file.
        path: String,
    },
}

/// A secret. It shows itself to nobody.
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// Reads the token file; white space around the token does not count.
    ///
    /// # Errors
    /// If there is no such file, or no token in it.
    pub fn read(path: &Path) -> Result<Self, ReadTokenError> {
        let shown = || path.display().to_string();
        let read = || {
            let length = std::fs::metadata(path)?.len();
            if length > LONGEST_FILE {
                return Err(std::io::Error::other(format!("it has {length} bytes, which no token has")));
            }
            std::fs::read_to_string(path)
        };
        let text = read().map_err(|source| ReadTokenError::Io { path: shown(), source })?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ReadTokenError::Content { path: shown() });
        }
        Ok(Self(token.to_owned()))
    }

    /// The token, to be sent.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is this token, in a time that does not tell how much of it is right.
    pub fn is(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_and_equals_itself_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(Token::read(&path).unwrap_err().to_string().starts_with("cannot read the token file"));
        for bad in ["", "\n", "two words", "zwei\nzeilen", "ungültig"] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(Token::read(&path), Err(ReadTokenError::Content { .. })), "{bad:?}");
        }
        std::fs::write(&path, "secret\n").unwrap();
        let token = Token::read(&path).unwrap();
        assert!(token.is("secret") && !token.is("secre") && !token.is("secret2") && !token.is(""));
        assert!(!format!("{token:?}").contains("secret"));
    }
}
