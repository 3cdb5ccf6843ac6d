//! Clients of the Kubernetes API whose calls are counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::Metrics;

/// A client that counts what it asks for, if there is anybody to count.
///
/// # Errors
///
/// If `config` does not allow for a client.
pub fn client(config: Config, metrics: Option<&Arc<Metrics>>) -> Result<Client, kube::Error> {
    let builder = ClientBuilder::try_from(config)?;
    Ok(match metrics {
        None => builder.build(),
        Some(metrics) => builder.with_layer(&Counted(Arc::clone(metrics))).build(),
    })
}

/// Counts the calls of what is below.
struct Counted(Arc<Metrics>);

impl<S> Layer<S> for Counted {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, metrics: Arc::clone(&self.0) }
    }
}

/// See [`Counted`].
struct Counting<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B> Service<Request<Body>> for Counting<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, method, begun) =
            (Arc::clone(&self.metrics), request.method().to_string(), Instant::now());
        let answered = self.inner.call(request);
        Box::pin(async move {
            let answer = answered.await;
            let code = answer.as_ref().map_or(0, |response| response.status().as_u16());
            metrics.api_called(&method, code, begun.elapsed().as_secs_f64());
            answer
        })
    }
}
