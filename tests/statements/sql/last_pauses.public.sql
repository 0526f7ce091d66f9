SELECT lately.at, lately.who, lately.reason, lately.target 
FROM (SELECT oban_audit.id AS id, oban_audit.at AS at, oban_audit.who AS who, oban_audit.via AS via, oban_audit.verb AS verb, oban_audit.target AS target, oban_audit.jobs AS jobs, oban_audit.reason AS reason 
FROM oban_audit ORDER BY oban_audit.id DESC 
 LIMIT $1::INTEGER) AS lately 
WHERE lately.verb = $2::VARCHAR ORDER BY lately.id DESC
