//! What the handlers that change the cluster share: one question to the controller for all parts of a request that may
//! go there, and one outcome for each of them in the end.

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

/// [`decide_each`] of topics.
pub async fn decide<T>(
    controller: &ControllerLink,
    timeout_ms: i32,
    checked: Vec<Result<T, ApiError>>,
    request: impl FnOnce(Vec<T>) -> ControllerRequest,
) -> Vec<Outcome> {
    let outcomes = |response| match response {
        ControllerResponse::Topics(outcomes) => Some(outcomes),
        _ => None,
    };
    decide_each(controller, timeout_ms, checked, request, outcomes).await
}

/// Asks the controller about as many things as `checked` has `Ok`s, which `request` makes a request of, and puts the
/// outcomes that are in its response in the places of those; refusals stay where they are. Without any `Ok` nobody is
/// asked.
pub async fn decide_each<T, R>(
    controller: &ControllerLink,
    timeout_ms: i32,
    checked: Vec<Result<T, ApiError>>,
    request: impl FnOnce(Vec<T>) -> ControllerRequest,
    outcomes: impl FnOnce(ControllerResponse) -> Option<Vec<Result<R, ApiError>>>,
) -> Vec<Result<R, ApiError>> {
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
        match ask(controller, timeout_ms, request(to_ask)).await {
            ControllerResponse::Failed(error) => Outcomes::All(error),
            response => outcomes(response)
                .map_or_else(|| Outcomes::All(unexpected()), |outcomes| Outcomes::Each(outcomes.into_iter())),
        }
    };
    refused.into_iter().map(|refused| refused.map_or_else(|| outcomes.next(), Err)).collect()
}

/// The controller's answer, to be handed out topic by topic.
enum Outcomes<R> {
    Each(std::vec::IntoIter<Result<R, ApiError>>),
    /// The request as a whole failed.
    All(ApiError),
}

impl<R> Outcomes<R> {
    fn next(&mut self) -> Result<R, ApiError> {
        match self {
            Self::Each(outcomes) => outcomes.next().unwrap_or_else(|| {
                refuse(
                    ErrorCode::UNKNOWN_SERVER_ERROR,
                    "the controller's answer has fewer parts than its question",
                )
            }),
            Self::All(error) => Err(error.clone()),
        }
    }
}

/// Asks the controller. `timeout_ms` is how long the client waits; without a positive one it waits as long as the broker
/// does. What the controller has begun when the time is up goes on.
pub async fn ask(
    controller: &ControllerLink,
    timeout_ms: i32,
    request: ControllerRequest,
) -> ControllerResponse {
    let asked = controller.request(request);
    let Ok(timeout) = u64::try_from(timeout_ms).map(Duration::from_millis) else { return asked.await };
    if timeout.is_zero() {
        return asked.await;
    }
    tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_elapsed| {
        ControllerResponse::Failed(ApiError {
            code: ErrorCode::REQUEST_TIMED_OUT,
            message: format!(
                "the controller did not answer within the {timeout_ms} ms that the request allows; \
                 it may still do what was asked"
            ),
        })
    })
}

/// The controller answered something else than it was asked for.
pub fn unexpected() -> ApiError {
    let message = "the controller answered the request with something else than was asked".to_owned();
    ApiError { code: ErrorCode::UNKNOWN_SERVER_ERROR, message }
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
        link.attach(sender, Vec::new());
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
        link.attach(mpsc::channel(1).0, Vec::new());
        let refused: Result<&str, _> = refuse(ErrorCode::INVALID_REQUEST, "no");
        let outcomes = decide(&link, 1000, vec![refused], delete).await;
        assert_eq!(outcomes, [refuse(ErrorCode::INVALID_REQUEST, "no")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_does_not_answer_in_time_times_every_topic_out() {
        let (sender, _receiver) = mpsc::channel(1);
        let link = ControllerLink::new(Duration::MAX);
        link.attach(sender, Vec::new());
        let outcomes = decide(&link, 100, vec![Ok("a"), Ok("b")], delete).await;
        let codes: Vec<_> =
            outcomes.iter().map(|outcome| outcome.as_ref().map_err(|error| error.code)).collect();
        assert_eq!(codes, [Err(ErrorCode::REQUEST_TIMED_OUT), Err(ErrorCode::REQUEST_TIMED_OUT)]);
    }
}
