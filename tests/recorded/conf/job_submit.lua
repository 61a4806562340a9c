-- What a site's own rule may say.
function slurm_job_submit(job, partitions, uid)
  if job.name == "site-rule" then
    slurm.log_user("site rule: at most 2 desktops\neach: see the wiki")
    return slurm.ERROR
  end
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
  return slurm.SUCCESS
end
