//! What the handlers that change topics share: one question to the controller for all topics of a request that may go
//! there, and one outcome for each of them in the end.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use taffrail_control::session::{ApiError, ControllerRequest, ControllerResponse, TopicOutcome};
use taffrail_protocol::ErrorCode;

use crate::controller_link::ControllerLink;

/// What became of one topic.
pub type Outcome = Result<TopicOutcome, ApiError>;

/// A refusal.
pub fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError { code, message: message.into() })
}

/// The elements whose key no other has, and every key that several have, once.
pub struct Unique<T, K> {
    /// Elements without a double.
    pub once: Vec<T>,
    /// Keys of the others, in the order in which they came first.
    pub repeated: Vec<K>,
}

impl<T, K: Eq + Hash + Clone> Unique<T, K> {
    /// Sorts `elements` by whether their key is theirs alone.
    pub fn by(elements: Vec<T>, key: impl Fn(&T) -> K) -> Self {
        let mut times: HashMap<K, usize> = HashMap::with_capacity(elements.len());
        for element in &elements {
            *times.entry(key(element)).or_default() += 1;
        }
        let (mut once, mut repeated) = (Vec::with_capacity(elements.len()), Vec::new());
        for element in elements {
            let key = key(&element);
            match times.get_mut(&key) {
                // Noted already.
                Some(0) => {}
                Some(times) if *times > 1 => {
                    *times = 0;
                    repeated.push(key);
                }
                _ => once.push(element),
            }
        }
        Self { once, repeated }
    }
}

/// Asks the controller about as many topics as `checked` has `Ok`s, which `request` makes a request of, and puts its
/// outcomes in the places of those; refusals stay where they are. Without any `Ok` nobody is asked.
pub async fn decide<T>(
    controller: &ControllerLink,
    timeout_ms: i32,
    checked: Vec<Result<T, ApiError>>,
    request: impl FnOnce(Vec<T>) -> ControllerRequest,
) -> Vec<Outcome> {
    let mut to_ask = Vec::with_capacity(checked.len());
    let mut refused = Vec::with_capacity(checked.len());
    for topic in checked {
        match topic {
            Ok(topic) => {
                to_ask.push(topic);
                refused.push(None);
            }
            Err(error) => refused.push(Some(error)),
        }
    }
    let mut outcomes = if to_ask.is_empty() {
        Outcomes::Each(Vec::new().into_iter())
    } else {
        ask(controller, timeout_ms, request(to_ask)).await
    };
    refused.into_iter().map(|refused| refused.map_or_else(|| outcomes.next(), Err)).collect()
}

/// The controller's answer, to be handed out topic by topic.
enum Outcomes {
    Each(std::vec::IntoIter<Outcome>),
    /// The request as a whole failed.
    All(ApiError),
}

impl Outcomes {
    fn next(&mut self) -> Outcome {
        match self {
            Self::Each(outcomes) => outcomes.next().unwrap_or_else(|| {
                refuse(
                    ErrorCode::UNKNOWN_SERVER_ERROR,
                    "the controller answered for fewer topics than it was asked",
                )
            }),
            Self::All(error) => Err(error.clone()),
        }
    }
}

/// `timeout_ms` is how long the client waits; without a positive one it waits as long as the broker does. What the
/// controller has begun when the time is up goes on.
async fn ask(controller: &ControllerLink, timeout_ms: i32, request: ControllerRequest) -> Outcomes {
    let asked = controller.request(request);
    let response = match u64::try_from(timeout_ms) {
        Ok(timeout_ms @ 1..) => tokio::time::timeout(Duration::from_millis(timeout_ms), asked).await,
        _ => Ok(asked.await),
    };
    match response {
        Ok(ControllerResponse::Topics(outcomes)) => Outcomes::Each(outcomes.into_iter()),
        Ok(ControllerResponse::Failed(error)) => Outcomes::All(error),
        Ok(_) => Outcomes::All(ApiError {
            code: ErrorCode::UNKNOWN_SERVER_ERROR,
            message: "the controller answered a request about topics with something else".to_owned(),
        }),
        Err(_elapsed) => Outcomes::All(ApiError {
            code: ErrorCode::REQUEST_TIMED_OUT,
            message: format!(
                "the controller did not answer within the {timeout_ms} ms that the request allows; \
                 it may still do what was asked"
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use taffrail_control::session::{ToController, TopicRef};
    use taffrail_protocol::Uuid;
    use tokio::sync::mpsc;

    use super::*;

    fn outcome(name: &str) -> TopicOutcome {
        TopicOutcome {
            name: Some(name.to_owned()),
            topic_id: Uuid::ZERO,
            partition_count: 1,
            replication_factor: 1,
            config: Default::default(),
        }
    }

    fn delete(names: Vec<&'static str>) -> ControllerRequest {
        let topics = names.into_iter().map(|name| TopicRef::Name(name.to_owned())).collect();
        ControllerRequest::DeleteTopics { topics }
    }

    #[test]
    fn what_is_named_twice_is_told_apart_from_what_is_named_once() {
        let unique = Unique::by(vec!["a", "b", "a", "c", "a", "b"], |name| *name);
        assert_eq!(unique.once, ["c"]);
        assert_eq!(unique.repeated, ["a", "b"]);
    }

    #[tokio::test]
    async fn outcomes_come_back_in_the_order_of_the_request() {
        let (sender, mut receiver) = mpsc::channel(1);
        let link = ControllerLink::new(Duration::MAX);
        link.attach(sender);
        let refused = ApiError { code: ErrorCode::INVALID_REQUEST, message: "no".to_owned() };
        let checked = vec![Ok("a"), Err(refused.clone()), Ok("b")];
        let controller = async {
            let Some(ToController::Request { request_id, request }) = receiver.recv().await else {
                panic!("nothing was asked");
            };
            assert_eq!(request, delete(vec!["a", "b"]));
            let outcomes = vec![Ok(outcome("a")), Ok(outcome("b"))];
            link.respond(request_id, ControllerResponse::Topics(outcomes));
        };
        let (outcomes, ()) = tokio::join!(decide(&link, 1000, checked, delete), controller);
        assert_eq!(outcomes, [Ok(outcome("a")), Err(refused), Ok(outcome("b"))]);
    }

    #[tokio::test]
    async fn nobody_is_asked_when_everything_is_refused() {
        // There is no receiver: a request would fail otherwise.
        let link = ControllerLink::new(Duration::MAX);
        link.attach(mpsc::channel(1).0);
        let refused: Result<&str, _> = refuse(ErrorCode::INVALID_REQUEST, "no");
        let outcomes = decide(&link, 1000, vec![refused], delete).await;
        assert_eq!(outcomes, [refuse(ErrorCode::INVALID_REQUEST, "no")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_does_not_answer_in_time_times_every_topic_out() {
        let (sender, _receiver) = mpsc::channel(1);
        let link = ControllerLink::new(Duration::MAX);
        link.attach(sender);
        let outcomes = decide(&link, 100, vec![Ok("a"), Ok("b")], delete).await;
        let codes: Vec<_> =
            outcomes.iter().map(|outcome| outcome.as_ref().map_err(|error| error.code)).collect();
        assert_eq!(codes, [Err(ErrorCode::REQUEST_TIMED_OUT), Err(ErrorCode::REQUEST_TIMED_OUT)]);
    }
}
