SELECT (SELECT count(*) AS count_1 
FROM (SELECT oban_deps.job_id AS job_id 
FROM oban_deps 
WHERE oban_deps.met = 'o' AND oban_deps.on_fail = 'w' AND oban_outcome(oban_deps.dep_id) = 'f' 
 LIMIT $1::INTEGER) AS failed) AS failed, (SELECT count(*) AS count_2 
FROM (SELECT oban_deps.job_id AS job_id 
FROM oban_deps 
WHERE oban_deps.met = 'o' AND oban_deps.refs IS NOT NULL AND oban_deps.dep_id > $2::BIGINT AND NOT (EXISTS (SELECT * 
FROM oban_jobs AS before 
WHERE before.id = oban_deps.dep_id)) 
 LIMIT $1::INTEGER) AS lost) AS lost, (SELECT count(*) AS count_3 
FROM (SELECT oban_workflows.id AS id 
FROM oban_workflows 
WHERE oban_workflows.state = 'executing' 
 LIMIT $1::INTEGER) AS running) AS running, (SELECT count(*) AS count_4 
FROM (SELECT oban_news.id AS id 
FROM oban_news 
 LIMIT $3::INTEGER) AS news) AS news
