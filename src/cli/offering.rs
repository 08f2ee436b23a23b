//! `primacy agent join`: an agent gets its certificate, and a database that is on its host already is taken over if
//! somebody agrees.

use std::path::Path;

use crate::agent::{AgentConfig, AgentError, takeover};
use crate::output;

use super::asked;
use super::daemons::{configuration, refused};
use super::joining::with_join;
use super::question::confirmed;
use super::{Exit, Failure};

/// Nothing is changed before the question is answered.
pub(super) fn agent(token: Option<&str>, path: &Path, yes: bool) -> Result<(), Failure> {
    let text = configuration(path, "an agent's")?;
    let text = match token {
        Some(token) => with_join(token, &text, path)?,
        None => text,
    };
    let config = AgentConfig::parse(&text).map_err(|error| refused(path, error))?;
    let has_certificate = config.files().is_none_or(|it| it.certificate.exists());
    if !has_certificate && config.join.is_none() {
        let text = format!("{}: this agent has no certificate yet", path.display());
        return Err(Failure {
            exit: Exit::Usage,
            text,
            hint: Some("give the TOKEN that primacy invite agent prints".to_owned()),
        });
    }
    asked(async {
        let candidate = takeover::look(&config).await;
        let candidate = candidate.map_err(|error| refused(path, error))?;
        if let Some(candidate) = &candidate {
            for line in &candidate.plan.lines {
                output::line(line)?;
            }
            if !yes && !confirmed("Take it over?")? {
                return Err(Failure::new(Exit::Refused, "nothing was changed"));
            }
        } else if config.join.is_none() {
            let text = format!(
                "{}: `data` holds nothing that could be taken over",
                path.display()
            );
            return Err(Failure::new(Exit::Refused, text));
        }
        let enrolled = crate::agent::enrol(&config).await;
        enrolled.map_err(|error| refused(path, error))?;
        if config.files().is_some() {
            output::line(format_args!(
                "its certificate is in {}",
                config.tls_folder().display()
            ))?;
        }
        let is_offered = candidate.is_some();
        if let Some(candidate) = candidate {
            candidate.agree().await.map_err(failed)?;
        }
        let what = if is_offered {
            "the database is offered; the cluster takes it over once the agent runs"
        } else {
            "there is no database yet"
        };
        Ok(output::line(format_args!(
            "{what}; start it: primacy agent --config {}",
            path.display()
        ))?)
    })
}

fn failed(error: AgentError) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}
