-- Who may charge what: without an accounting database, a site's rule is what refuses an account.
-- See slurm.conf(5), JobSubmitPlugins, and job_submit_plugins(7).
local accounts = {science = true, engineering = true}

function slurm_job_submit(job, partitions, uid)
   if job.account ~= nil and not accounts[job.account] then
      return slurm.ESLURM_INVALID_ACCOUNT
   end
   if job.partition == "gated" and job.account ~= "science" then
      return slurm.ESLURM_INVALID_ACCOUNT
   end
   return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
   return slurm.SUCCESS
end
