SELECT found.queue, found.jobs 
FROM jobs.oban_release_flows(200) AS found
