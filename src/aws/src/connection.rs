//! How one cluster is reached: region, credentials, endpoint, time limits.

use std::sync::Arc;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudwatch::Client as CloudwatchClient;
use aws_sdk_sagemaker::Client as SagemakerClient;
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use trimtab_core::units::Span;
use trimtab_daemon::config::{AccountId, ClusterSettings, EndpointUrl, RoleArn};

/// A connection that cannot be made in this time will not be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One attempt of a read: SageMaker answers within two seconds, its slow tail in five.
const READ_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// A read with all its retries. Shorter than half a tick, so that a dead service costs one
/// tick and not the next one as well.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// Attempts of a read (the SDK's own default).
const READ_ATTEMPTS: u32 = 3;
/// A call that changes something. As long as a look may be old (`t_guard` is 30 s by
/// default): an answer that takes longer is none.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept to one host: more than reads that run at the same time.
const IDLE_CONNECTIONS: usize = 8;

/// Where a cluster is and who may reach it.
#[derive(Debug, Clone)]
pub struct Target {
    /// The region.
    pub region: String,
    /// The account it must be in.
    pub account: AccountId,
    /// A role to assume first.
    pub role: Option<RoleArn>,
    /// Where to send requests instead of to AWS.
    pub endpoint: Option<EndpointUrl>,
}

impl Target {
    /// As a cluster's settings say.
    pub fn of(settings: &ClusterSettings) -> Self {
        Self {
            region: settings.region.as_str().to_owned(),
            account: settings.account_id.clone(),
            role: settings.role_arn.clone(),
            endpoint: settings.endpoint_url.clone(),
        }
    }

    /// Not encrypted; only an endpoint on this machine can be.
    fn is_plain(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.as_str().starts_with("http://"))
    }

    /// On this machine, where nobody checks credentials and nothing is encrypted.
    fn is_loopback(&self) -> bool {
        self.endpoint.as_ref().is_some_and(EndpointUrl::is_loopback)
    }
}

/// The clients of one cluster. Copies share them.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) target: Arc<Target>,
    /// Retries, under a total timeout.
    pub(crate) reads: SagemakerClient,
    /// One attempt.
    pub(crate) writes: SagemakerClient,
    pub(crate) cloudwatch: CloudwatchClient,
}

impl Connection {
    /// Makes the clients; nothing is sent yet. Credentials come from the AWS default chain
    /// (environment, profile, instance or container role), through `role` if there is one.
    /// An endpoint on this machine is a simulation, so it gets made-up ones.
    pub async fn new(target: Target) -> Self {
        let shared = shared_config(&target).await;
        let reads = aws_sdk_sagemaker::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
            .timeout_config(timeouts(READ_ATTEMPT_TIMEOUT, READ_TIMEOUT));
        let writes = aws_sdk_sagemaker::config::Builder::from(&shared)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(WRITE_TIMEOUT, WRITE_TIMEOUT));
        let cloudwatch = aws_sdk_cloudwatch::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
            .timeout_config(timeouts(READ_ATTEMPT_TIMEOUT, READ_TIMEOUT));
        Self {
            target: Arc::new(target),
            reads: SagemakerClient::from_conf(reads.build()),
            writes: SagemakerClient::from_conf(writes.build()),
            cloudwatch: CloudwatchClient::from_conf(cloudwatch.build()),
        }
    }
}

/// How long a changing call may take whose look is good for `within`: were it to wait for
/// credentials or for a connection, it must not leave when the look is too old. `None` if
/// there is no time left.
pub(crate) fn write_limit(within: Span) -> Option<aws_sdk_sagemaker::config::Builder> {
    let limit = write_time(within)?;
    Some(aws_sdk_sagemaker::config::Config::builder().timeout_config(timeouts(limit, limit)))
}

fn write_time(within: Span) -> Option<Duration> {
    let left = Duration::from_millis(u64::try_from(within.0).ok()?).min(WRITE_TIMEOUT);
    (!left.is_zero()).then_some(left)
}

fn timeouts(attempt: Duration, whole: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(whole)
        .build()
}

async fn shared_config(target: &Target) -> SdkConfig {
    let region = Region::new(target.region.clone());
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        // The SDK would sign by the service's clock where ours is off, and so hide that ours
        // is: then old datapoints would look new. Without it the service itself refuses.
        .disable_clock_skew_correction(true)
        .http_client(http_client(target.is_plain()));
    let loader = match &target.endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint.as_str().trim_end_matches('/')),
        None => loader,
    };
    let loader = if target.is_loopback() {
        // The simulated endpoint tells accounts apart by the key's name.
        loader.credentials_provider(Credentials::new(
            format!("simulated{}", target.account),
            "simulated",
            None,
            None,
            "a simulated endpoint",
        ))
    } else {
        loader
    };
    let base = loader.load().await;
    let Some(role) = target.role.as_ref().filter(|_| !target.is_loopback()) else { return base };
    // The role is assumed at AWS's own STS, also where SageMaker has a private endpoint.
    let mut sts = base.to_builder();
    sts.set_endpoint_url(None);
    let sts = sts.build();
    let assumed = AssumeRoleProvider::builder(role.as_str())
        .session_name("trimtab")
        .region(region)
        .configure(&sts)
        .build()
        .await;
    base.to_builder().credentials_provider(SharedCredentialsProvider::new(assumed)).build()
}

/// One TLS stack: rustls with ring. Where nothing is encrypted, which is on this machine
/// only, no root certificates have to be there.
fn http_client(is_plain: bool) -> SharedHttpClient {
    let builder = HttpBuilder::new().pool_max_idle_per_host(IDLE_CONNECTIONS);
    if is_plain {
        builder.build_http()
    } else {
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changing_call_has_no_longer_than_its_look_is_good_for() {
        assert_eq!(write_time(Span::mins(10)), Some(WRITE_TIMEOUT));
        assert_eq!(write_time(Span::secs(4)), Some(Duration::from_secs(4)));
        assert_eq!(write_time(Span(1)), Some(Duration::from_millis(1)));
        assert_eq!(write_time(Span::ZERO), None);
        assert_eq!(write_time(Span(-1)), None);
    }
}
