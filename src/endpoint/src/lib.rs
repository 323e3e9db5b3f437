//! The simulated world behind the wire protocols of SageMaker and CloudWatch.

#[cfg_attr(not(test), expect(dead_code, reason = "the server calls it"))]
mod cloudwatch;
#[expect(dead_code, reason = "the server fills all of it in")]
mod wire;
