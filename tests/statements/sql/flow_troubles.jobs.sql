SELECT (SELECT count(*) AS count_1 
FROM (SELECT jobs.oban_deps.job_id AS job_id 
FROM jobs.oban_deps 
WHERE jobs.oban_deps.met = 'o' AND jobs.oban_deps.on_fail = 'w' AND jobs.oban_outcome(jobs.oban_deps.dep_id) = 'f' 
 LIMIT $1::INTEGER) AS failed) AS failed, (SELECT count(*) AS count_2 
FROM (SELECT jobs.oban_deps.job_id AS job_id 
FROM jobs.oban_deps 
WHERE jobs.oban_deps.met = 'o' AND jobs.oban_deps.refs IS NOT NULL AND jobs.oban_deps.dep_id > $2::BIGINT AND NOT (EXISTS (SELECT * 
FROM jobs.oban_jobs AS before 
WHERE before.id = jobs.oban_deps.dep_id)) 
 LIMIT $1::INTEGER) AS lost) AS lost, (SELECT count(*) AS count_3 
FROM (SELECT jobs.oban_workflows.id AS id 
FROM jobs.oban_workflows 
WHERE jobs.oban_workflows.state = 'executing' 
 LIMIT $1::INTEGER) AS running) AS running, (SELECT count(*) AS count_4 
FROM (SELECT jobs.oban_news.id AS id 
FROM jobs.oban_news 
 LIMIT $3::INTEGER) AS news) AS news
