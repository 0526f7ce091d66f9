SELECT lately.at, lately.who, lately.reason, lately.target 
FROM (SELECT jobs.oban_audit.id AS id, jobs.oban_audit.at AS at, jobs.oban_audit.who AS who, jobs.oban_audit.via AS via, jobs.oban_audit.verb AS verb, jobs.oban_audit.target AS target, jobs.oban_audit.jobs AS jobs, jobs.oban_audit.reason AS reason 
FROM jobs.oban_audit ORDER BY jobs.oban_audit.id DESC 
 LIMIT $1::INTEGER) AS lately 
WHERE lately.verb = $2::VARCHAR ORDER BY lately.id DESC
