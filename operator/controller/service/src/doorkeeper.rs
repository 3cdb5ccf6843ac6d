//! Who may speak to the controller.

use std::path::PathBuf;

use taffrail_control::grpc::token::Token;
use tonic::Status;

/// Who has been let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Any broker of any cluster: it is what it says to be.
    Anybody,
    /// One broker, whatever it says.
    Broker {
        /// Its cluster, as whoever let it in and [`crate::Controllers`] name clusters.
        cluster: String,
        /// Its id.
        broker_id: i32,
    },
}

impl Caller {
    /// Why the caller is not the broker that it says to be, if it is not.
    pub(crate) fn is_not(&self, claimed: i32) -> Option<String> {
        match self {
            Self::Broker { cluster, broker_id } if *broker_id != claimed => Some(format!(
                "its token is that of broker {broker_id} of cluster {cluster}, and it says to be broker {claimed}; give it \
                 the id that its pod's name ends in"
            )),
            _ => None,
        }
    }
}

/// Lets brokers in.
#[tonic::async_trait]
pub trait Doorkeeper: Send + Sync + 'static {
    /// Who shows this token.
    ///
    /// # Errors
    /// What a caller is told who is not let in.
    async fn admit(&self, shown: Option<&str>) -> Result<Caller, Status>;
}

/// All brokers show the same token, if there is one.
#[derive(Debug, Clone, Default)]
pub struct SharedToken {
    /// The file that holds it, which is read again for each call; without one everybody is let in.
    pub file: Option<PathBuf>,
}

#[tonic::async_trait]
impl Doorkeeper for SharedToken {
    async fn admit(&self, shown: Option<&str>) -> Result<Caller, Status> {
        let Some(path) = &self.file else { return Ok(Caller::Anybody) };
        let token = Token::read(path).map_err(|error| {
            tracing::error!("{error}; brokers are refused until it can be read");
            Status::unavailable("the controller cannot read its token file")
        })?;
        match shown {
            Some(shown) if token.is(shown) => Ok(Caller::Anybody),
            shown => {
                let how = if shown.is_some() { "the wrong token" } else { "no token" };
                Err(Status::unauthenticated(format!(
                    "the broker showed {how}; give it the controller's with --controller-token-file"
                )))
            }
        }
    }
}
